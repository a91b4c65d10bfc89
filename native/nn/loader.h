// Builds layers out of a weight source, one tensor at a time: read, checked, quantised, packed,
// and the unpacked weight freed before the next is read.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include <ATen/core/Tensor.h>

#include "core/cancel.h"
#include "core/sha256.h"
#include "nn/token_table.h"
#include "nn/weight_source.h"
#include "ops/layers.h"

namespace zoodip {

// What is decided once for a whole model; a part follows it as `for_part` says.
struct LoadOptions {
    WeightType weights = WeightType::int8;
    ComputeType compute = ComputeType::float32;
    at::Device device = at::kCPU;
    CancelToken cancel;
    // When given, takes in the name, shape and samples of every weight that is read: equal digests
    // mean the same model.
    std::shared_ptr<Sha256> fingerprint;
    // Takes in the layers whose products may be of integers; there for ComputeType::int8.
    std::shared_ptr<Activations> activations;

    // Its own types. The text encoder is always computed in float32: the differences of the loss
    // follow from it. The autoencoder follows on the CPU, where float32 goes on between its layers;
    // a graphics card makes the few latents in float32. Integers are the UNet's.
    LoadOptions for_part(Part part) const;
};

struct Linear {
    FrozenWeight weight;
    at::Tensor bias;  // float32, or undefined
    // x: [..., in] -> [..., out]
    at::Tensor operator()(const at::Tensor& x, const Finish& finish = {}) const {
        return linear(x, weight, bias, finish);
    }
    // x: [rows, in, height, width] -> [rows, height * width, out]
    at::Tensor operator()(const GroupNormed& x, const Finish& finish = {}) const {
        return linear(x, weight, bias, finish);
    }
    // The same over the channels of [rows, in, height, width]: a 1x1 convolution.
    at::Tensor pointwise(const at::Tensor& x) const {
        return linear(x.permute({0, 2, 3, 1}), weight, bias).permute({0, 3, 1, 2});
    }
};

struct Conv2d {
    FrozenWeight weight;
    at::Tensor bias;
    std::int64_t stride = 1, padding = 0;
    at::Tensor operator()(const at::Tensor& x, const Finish& finish = {}) const {
        return conv2d(x, weight, bias, stride, padding, finish);
    }
    at::Tensor operator()(const GroupNormed& x, const Finish& finish = {}) const {
        return conv2d(x, weight, bias, stride, padding, finish);
    }
};

struct LayerNorm {
    at::Tensor weight, bias;
    double eps = 1e-5;
    // Of x's type, or of `out`.
    at::Tensor operator()(const at::Tensor& x, std::optional<at::ScalarType> out = {}) const {
        return layer_norm(x, weight, bias, eps, out);
    }
};

struct GroupNorm {
    at::Tensor weight, bias;
    double eps = 1e-5;
    std::int64_t groups = 32;
    GroupNormed operator()(const at::Tensor& x) const {
        return {x, groups, weight, bias, eps, false};
    }
    GroupNormed silu(const at::Tensor& x) const { return {x, groups, weight, bias, eps, true}; }
};

// Each call throws Error when a tensor is missing, has an unexpected shape or holds a value that is
// not finite, and Cancelled when it was asked to stop.
class Loader {
  public:
    Loader(const WeightSource& source, const LoadOptions& options, Part part)
        : source_(source), options_(options.for_part(part)) {}

    bool has(const std::string& name) const { return source_.has(name); }
    std::int64_t size(const std::string& name, std::int64_t dimension) const;
    const LoadOptions& options() const { return options_; }
    const WeightSource& source() const { return source_; }

    Linear linear(const std::string& prefix) const;  // 1x1 convolutions are linears too
    // The same under names of its own.
    Linear linear(const std::string& weight, const std::string& bias) const;
    // Without a bias: of a tensor `name`.weight as of any layer; under another name it is stored
    // turned round, [in, out], as OpenCLIP has its projections.
    Linear projection(const std::string& name) const;
    Conv2d conv2d(const std::string& prefix, std::int64_t stride = 1,
                  std::int64_t padding = 1) const;
    LayerNorm layer_norm(const std::string& prefix) const;
    GroupNorm group_norm(const std::string& prefix, double eps) const;

    // float32 on the device.
    at::Tensor parameter(const std::string& name) const;
    // A table that is only looked up. On the CPU it stays where it is if the source reads rows;
    // else it is kept in its stored floating-point type on the device (float64 becomes float32).
    TokenTable table(const std::string& name) const;

  private:
    at::Tensor read(const std::string& name) const;
    // Of a weight that is quantised already.
    at::Tensor take_integers(const WeightInfo& info) const;
    void require_finite(const std::string& name, const at::Tensor& tensor) const;
    // Row by row as it is read, where the source reads parts and the type is packed so.
    FrozenWeight pack(const std::string& name, std::int64_t dimensions) const;
    FrozenWeight weight(const std::string& name, std::int64_t dimensions) const;
    // float32 [size], of whatever size there is.
    at::Tensor vector(const std::string& name) const;
    // float32 [size]; Error for another shape.
    at::Tensor bias(const std::string& name, std::int64_t size) const;
    at::Tensor optional_bias(const std::string& name, std::int64_t size) const;

    const WeightSource& source_;
    LoadOptions options_;
    mutable std::size_t read_bytes_ = 0;  // since memory was last given back
};

}  // namespace zoodip
