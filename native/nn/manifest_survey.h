// How a manifest is made: what the names say, and layers as lists of tensors.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "nn/manifest.h"

namespace zoodip {

// What the names below a root tell.
class Survey {
  public:
    Survey(const WeightSource& weights, std::string root)
        : weights_(weights), root_(std::move(root)) {}

    // Whether a name starts so.
    bool any(const std::string& start) const;
    // One more than the highest number of at most two digits that follows `start`; 0 without one.
    std::int64_t count(const std::string& start) const;
    // A dimension's size; -1 where there is no such tensor or dimension.
    std::int64_t size(const std::string& name, std::size_t dimension) const;

    const WeightSource& weights() const { return weights_; }
    const std::string& root() const { return root_; }

  private:
    const WeightSource& weights_;
    std::string root_;
};

// A width that several tensors tell: what most of them say, so that the one that is wrong is named.
class Votes {
  public:
    explicit Votes(const Survey& survey) : survey_(survey) {}
    void add(const std::string& name, std::size_t dimension);
    void add_layer(const std::string& prefix);  // outputs of a layer, or the width of a norm
    std::int64_t winner() const;                // -1 without a vote

  private:
    const Survey& survey_;
    std::map<std::int64_t, int> votes_;
};

// Whether two widths are known and not the same.
inline bool differ(std::int64_t a, std::int64_t b) {
    return a >= 0 && b >= 0 && a != b;
}

// Layers, added to a manifest as their tensors.
class ManifestBuilder {
  public:
    explicit ManifestBuilder(std::string root) : root_(std::move(root)) {}

    void linear(const std::string& prefix, std::int64_t out, std::int64_t in, bool bias = true);
    void conv3(const std::string& prefix, std::int64_t out, std::int64_t in, bool bias = true);
    void norm(const std::string& prefix, std::int64_t width);
    void tensor(const std::string& name, std::vector<std::int64_t> shape);

    Manifest take() { return std::move(manifest_); }

  private:
    std::string root_;
    Manifest manifest_;
};

}  // namespace zoodip
