// Static scales of what goes into a layer, for products of integers (ComputeType::int8).
//
// The range of a layer's inputs depends on the timestep, so that there is one for each tenth of the
// timesteps. Ranges are found before a run's first step and never change in it: what a row's result
// is never depends on its neighbours.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ops/panel_product.h"

namespace zoodip {

class Activations;

enum class Calibration {
    off,      // products of integers nowhere
    observe,  // ranges are widened
    compare,  // so; and both products are made, errors are noted
    done,     // products of integers, but for sensitive layers
};

// Of one layer.
class LayerActivation {
  public:
    static constexpr std::size_t bins = 10;
    static std::size_t bin_of(double timestep);  // of a thousand

    LayerActivation(std::string name, double products, const Activations& all)
        : name_(std::move(name)), products_(products), all_(all) {}

    Calibration calibration() const;
    // Whether the layer's next product is one of integers, and with which scale.
    bool ready() const;
    ActivationScale scale() const;

    // Widens the range of the present bin by what x holds.
    void observe(const at::Tensor& x);
    // How far integers lead from the product without: |integers - plain| / |plain|.
    void compare(const at::Tensor& plain, const at::Tensor& integers);

    const std::string& name() const { return name_; }
    double products() const { return products_; }  // multiply-adds of a number of the result
    double error() const { return error_; }        // the largest that compare() met
    bool sensitive() const { return sensitive_; }

  private:
    friend class Activations;
    struct Range {
        float low = 0, high = 0;  // nothing was seen: both 0
    };

    std::string name_;
    double products_;
    const Activations& all_;
    std::array<Range, bins> ranges_{};
    double error_ = 0;
    double work_ = 0;  // multiply-adds that went by in compare()
    bool sensitive_ = false;
};

// Of a network.
class Activations {
  public:
    // A layer whose error is above this stays in the type of the other products: it would be the
    // largest part of what the network as a whole is off by.
    static constexpr double sensitive_error = 0.04;

    Activations() = default;
    Activations(const Activations&) = delete;
    Activations& operator=(const Activations&) = delete;

    std::shared_ptr<LayerActivation> add(const std::string& name, double products);

    Calibration calibration() const { return calibration_; }
    void set_calibration(Calibration calibration) { calibration_ = calibration; }
    std::size_t bin() const { return bin_; }
    void set_timestep(double timestep) { bin_ = LayerActivation::bin_of(timestep); }

    // From here on they are those of `owner`, any address that stands for it: of several runs over
    // one network each finds its own. What another had is kept for it.
    void belong_to(const void* owner);

    // After comparing: chooses the sensitive layers; done.
    void settle();
    // The share of the compared multiply-adds that are of integers.
    double integer_share() const;
    const std::vector<std::shared_ptr<LayerActivation>>& layers() const { return layers_; }

    // float32 [layers, bins + 1, 2]: ranges; last (error, sensitive). What a run's state keeps.
    at::Tensor save() const;
    // Throws Error when it is of another network.
    void restore(const at::Tensor& saved);

  private:
    std::vector<std::shared_ptr<LayerActivation>> layers_;
    Calibration calibration_ = Calibration::off;
    std::size_t bin_ = 0;
    const void* owner_ = nullptr;
    std::map<const void*, std::pair<at::Tensor, Calibration>> others_;  // what they have, saved
};

}  // namespace zoodip
