#include "ops/layer_activation.h"

#include <algorithm>
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/aminmax.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/zeros.h>

#include "core/error.h"

namespace zoodip {
namespace {

constexpr auto save_rows = static_cast<std::int64_t>(LayerActivation::bins) + 1;

}  // namespace

std::size_t LayerActivation::bin_of(double timestep) {
    const double bin = std::floor(timestep / 1000 * static_cast<double>(bins));
    return static_cast<std::size_t>(std::clamp<double>(bin, 0, static_cast<double>(bins - 1)));
}

Calibration LayerActivation::calibration() const {
    return all_.calibration();
}

bool LayerActivation::ready() const {
    const Range& range = ranges_[all_.bin()];
    return !sensitive_ && range.high > range.low;
}

// Zero is a value of its own, exactly: the border of a convolution, and what SiLU leaves.
ActivationScale LayerActivation::scale() const {
    constexpr float margin = 1.05f;  // for draws that calibration did not see
    const Range& range = ranges_[all_.bin()];
    const float low = std::min(margin * range.low, 0.0f);
    const float high = std::max(margin * range.high, 0.0f);
    const float scale = (high - low) / 255;
    return {scale, static_cast<std::int32_t>(std::nearbyint(-low / scale))};
}

void LayerActivation::observe(const at::Tensor& x) {
    const auto [low, high] = at::aminmax(x);
    Range& range = ranges_[all_.bin()];
    range.low = std::min(range.low, low.item<float>());
    range.high = std::max(range.high, high.item<float>());
}

void LayerActivation::compare(const at::Tensor& plain, const at::Tensor& integers) {
    const double off = at::linalg_vector_norm(integers - plain).item<double>();
    const double size = at::linalg_vector_norm(plain).item<double>();
    error_ = std::max(error_, size > 0 ? off / size : 0);
    work_ += products_ * static_cast<double>(plain.numel());
}

std::shared_ptr<LayerActivation> Activations::add(const std::string& name, double products) {
    layers_.push_back(std::make_shared<LayerActivation>(name, products, *this));
    return layers_.back();
}

void Activations::settle() {
    for (const auto& layer : layers_) layer->sensitive_ = layer->error_ > sensitive_error;
    calibration_ = Calibration::done;
}

double Activations::integer_share() const {
    double all = 0, integers = 0;
    for (const auto& layer : layers_) {
        all += layer->work_;
        integers += layer->sensitive_ ? 0 : layer->work_;
    }
    return all > 0 ? integers / all : 0;
}

at::Tensor Activations::save() const {
    const at::Tensor saved =
        at::zeros({static_cast<std::int64_t>(layers_.size()), save_rows, 2}, at::kFloat);
    auto* to = saved.mutable_data_ptr<float>();
    for (const auto& layer : layers_) {
        for (const auto& range : layer->ranges_) {
            *to++ = range.low;
            *to++ = range.high;
        }
        *to++ = static_cast<float>(layer->error_);
        *to++ = layer->sensitive_ ? 1.0f : 0.0f;
    }
    return saved;
}

void Activations::restore(const at::Tensor& saved) {
    const auto count = static_cast<std::int64_t>(layers_.size());
    require(saved.defined() && saved.dim() == 3 && saved.size(0) == count &&
                saved.size(1) == save_rows && saved.size(2) == 2 &&
                saved.scalar_type() == at::kFloat,
            "activation scales: expected those of ", count, " layers, got ",
            saved.defined() ? concat(saved.sizes()) : "none");
    const at::Tensor ordered = saved.contiguous();
    const float* from = ordered.const_data_ptr<float>();
    for (const auto& layer : layers_) {
        for (auto& range : layer->ranges_) {
            range.low = *from++;
            range.high = *from++;
            require(std::isfinite(range.low) && std::isfinite(range.high) && range.low <= 0 &&
                        range.high >= 0,
                    "activation scales: needs finite ranges about 0, got ", range.low, " to ",
                    range.high);
        }
        layer->error_ = *from++;
        layer->sensitive_ = *from++ != 0;
    }
    calibration_ = Calibration::done;
}

}  // namespace zoodip
