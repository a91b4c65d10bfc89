#include "ops/layer_activation.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <mutex>
#include <utility>
#include <vector>

#include <ATen/ops/zeros.h>

#include "core/error.h"
#include "ops/parallel.h"
#include "ops/vector_math.h"

namespace zoodip {
namespace {

constexpr auto save_rows = static_cast<std::int64_t>(LayerActivation::bins) + 1;

constexpr std::int64_t piece = 1 << 14;  // numbers that are looked at together

// work(a null pointer to the type of x's numbers).
template <class Work>
void for_numbers_of(const at::Tensor& x, const Work& work) {
    if (x.scalar_type() == at::kFloat) return work(static_cast<const float*>(nullptr));
    require(x.scalar_type() == at::kBFloat16, "calibration: needs float32 or bfloat16, got ",
            x.toString());
    work(static_cast<const at::BFloat16*>(nullptr));
}

// The memory of a tensor without holes, in whatever order; of another a copy's.
at::Tensor in_one_piece(const at::Tensor& x) {
    return x.is_non_overlapping_and_dense() ? x : x.contiguous();
}

// The least and the greatest number. NaN is passed over.
std::pair<float, float> extremes_of(const at::Tensor& x) {
    const at::Tensor all = in_one_piece(x);
    std::mutex joining;
    float low = 0, high = 0;  // zero is in every range
    for_numbers_of(all, [&]<class Number>(const Number*) {
        const auto* numbers = all.const_data_ptr<Number>();
        parallel_ranges(all.numel(), piece, [&](std::int64_t begin, std::int64_t end) {
            float least = 0, greatest = 0;
            for_cpu_isa([&, numbers, begin, end] ZOODIP_INLINED {
                float below[16] = {}, above[16] = {};
                for (std::int64_t i = begin; i < end; i += 16) {
                    const std::int64_t there = std::min<std::int64_t>(16, end - i);
                    for (std::int64_t j = 0; j < there; ++j) {
                        const float value = widened(numbers[i + j]);
                        below[j] = value < below[j] ? value : below[j];
                        above[j] = value > above[j] ? value : above[j];
                    }
                }
                for (int j = 0; j < 16; ++j) {
                    least = std::min(least, below[j]);
                    greatest = std::max(greatest, above[j]);
                }
            });
            const std::lock_guard lock(joining);
            low = std::min(low, least);
            high = std::max(high, greatest);
        });
    });
    return {low, high};
}

// The sums of the squares of a - b and of b, float32 or bfloat16 of one shape and type. Pieces are
// added up in their order, so that the number of threads does not matter.
std::pair<double, double> squares_of(const at::Tensor& a, const at::Tensor& b) {
    const at::Tensor first = a.contiguous(), second = b.to(a.scalar_type()).contiguous();
    const std::int64_t count = first.numel();
    std::vector<std::array<double, 2>> pieces(
        static_cast<std::size_t>((count + piece - 1) / piece));
    for_numbers_of(first, [&]<class Number>(const Number*) {
        const auto* x = first.const_data_ptr<Number>();
        const auto* y = second.const_data_ptr<Number>();
        parallel_ranges(
            static_cast<std::int64_t>(pieces.size()), 1, [&](std::int64_t begin, std::int64_t end) {
                for (std::int64_t i = begin; i < end; ++i) {
                    auto& sums = pieces[static_cast<std::size_t>(i)];
                    for (std::int64_t k = i * piece; k < std::min(count, (i + 1) * piece); ++k) {
                        const double value = widened(y[k]);
                        const double off = widened(x[k]) - value;
                        sums[0] += off * off;
                        sums[1] += value * value;
                    }
                }
            });
    });
    std::pair<double, double> all{0, 0};
    for (const auto& sums : pieces) {
        all.first += sums[0];
        all.second += sums[1];
    }
    return all;
}

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
    const auto [low, high] = extremes_of(x);
    Range& range = ranges_[all_.bin()];
    range.low = std::min(range.low, low);
    range.high = std::max(range.high, high);
}

void LayerActivation::compare(const at::Tensor& plain, const at::Tensor& integers) {
    const auto [off, size] = squares_of(integers, plain);
    error_ = std::max(error_, size > 0 ? std::sqrt(off / size) : 0);
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

void Activations::belong_to(const void* owner) {
    if (owner == owner_) return;
    const auto own = others_.extract(owner);
    if (owner_ != nullptr) {
        others_[owner_] = {save(), calibration_};
        restore(own.empty() ? at::zeros({static_cast<std::int64_t>(layers_.size()), save_rows, 2})
                            : own.mapped().first);
        calibration_ = own.empty() ? Calibration::off : own.mapped().second;
    }
    owner_ = owner;
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
