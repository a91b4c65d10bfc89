// The frozen weight of a Linear or Conv2d layer: packed once as it is loaded, then opaque.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ops/layer_activation.h"
#include "ops/panel_product.h"
#include "ops/panel_weight.h"
#include "ops/types.h"
#include "ops/weight_codec.h"

namespace zoodip {

// What a layer was given: quantised integers or floating point.
class FrozenWeight {
  public:
    FrozenWeight() = default;

    // weight: [out, in] or [out, in, kernel, kernel], floating point, CPU, finite. `compute` is the
    // type of dense weights; quantised ones are kept as integers.
    FrozenWeight(const at::Tensor& weight, WeightType type, ComputeType compute, at::Device device);

    // The same of a weight that somebody else has quantised row by row: its integers, int8, and
    // scale, float32 [out]; where `type` is int8 they stay as they are.
    FrozenWeight(const at::Tensor& integers, const at::Tensor& scale, WeightType type,
                 ComputeType compute, at::Device device);

    // A weight that is packed already.
    FrozenWeight(PanelWeight panels, ComputeType compute);
    // Whether a weight of this shape and stored type may be packed as it is read.
    static bool packs_rows(const std::vector<std::int64_t>& shape, at::ScalarType stored,
                           WeightType type, at::Device device);

    // The weight in floating point, of the logical shape, on its device; a 4-D weight in
    // channels-last memory. For a quantised weight this is a fresh tensor that the caller drops
    // after use: at most one is alive at a time.
    at::Tensor dense(at::ScalarType type) const;

    // INT8 and INT4 on the CPU, where our own kernels multiply; nullptr for another.
    const PanelSource* panels() const { return panels_.get(); }

    // What inputs of the product are rounded to, given the type of the activations: on the CPU, as
    // `compute` says; there, the first and the last layer of a network stay in float32.
    at::ScalarType input_type(at::ScalarType activations) const;

    // For ComputeType::int8: the scales of this layer's inputs, which decide between int8 and
    // input_type. nullptr for other types, and where the layer has no panels.
    const std::shared_ptr<LayerActivation>& activation() const { return activation_; }
    void set_activation(std::shared_ptr<LayerActivation> activation) {
        activation_ = std::move(activation);
    }

    // Whether it is the first or the last layer of a network, from or to the few channels of
    // pictures and latents: a small share of the network's products.
    bool at_an_end() const;

    std::int64_t out_features() const { return shape_.at(0); }
    std::int64_t in_features() const { return shape_.at(1); }
    const std::vector<std::int64_t>& shape() const { return shape_; }

  private:
    std::vector<std::int64_t> shape_;
    ComputeType compute_ = ComputeType::float32;
    bool on_cpu_ = true;
    const WeightCodec* codec_ = nullptr;  // of a quantised weight
    // One of the three.
    std::shared_ptr<const PanelSource> panels_;
    PackedWeight packed_;
    at::Tensor dense_;

    std::shared_ptr<LayerActivation> activation_;
};

}  // namespace zoodip
