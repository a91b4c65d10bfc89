#include "ops/panel_epilogue.h"

#include <algorithm>

#include <ATen/ops/empty.h>

#include "core/error.h"
#include "ops/vector_math.h"

namespace zoodip {
namespace {

constexpr std::int64_t width = PanelSource::width;

struct Channels {
    const std::int32_t* shift;
    const float* gain;
    const float* bias;
};

ZOODIP_INLINED inline float value(float sum, const Channels& c, std::int64_t n) {
    return sum * c.gain[n] + c.bias[n];
}
ZOODIP_INLINED inline float value(std::int32_t sum, const Channels& c, std::int64_t n) {
    return static_cast<float>(sum - c.shift[n]) * c.gain[n] + c.bias[n];
}

// One row of a panel; only the first `count` channels are there.
template <class Sum, class Out>
ZOODIP_INLINED inline void finish_row(const Sum* sums, const Channels& c, const Sum* gate,
                                      const Channels& g, const float* residual, std::int64_t count,
                                      Out* y) {
    float line[width];
    for (std::int64_t n = 0; n < width; ++n) line[n] = value(sums[n], c, n);
    if (gate != nullptr) {
        for (std::int64_t n = 0; n < width; ++n) line[n] *= gelu(value(gate[n], g, n));
    }
    if (residual != nullptr) {
        for (std::int64_t n = 0; n < count; ++n) line[n] += residual[n];
    }
    if (count == width) {
        for (std::int64_t n = 0; n < width; ++n) store(line[n], y + n);
    } else {
        for (std::int64_t n = 0; n < count; ++n) store(line[n], y + n);
    }
}

}  // namespace

Epilogue::Epilogue(const PanelProduct& product, std::int64_t rows) {
    const PanelSource& weight = product.weight;
    const bool integers = product.type == ProductType::int8;
    panels_ = product.geglu ? weight.panels() / 2 : weight.panels();
    channels_ = product.geglu ? weight.out_features() / 2 : weight.out_features();
    require(!product.geglu || weight.out_features() % (2 * width) == 0,
            "geglu: needs a multiple of ", 2 * width, " output channels, got ",
            weight.out_features());
    const auto padded = static_cast<std::size_t>(weight.panels() * width);
    gain_.assign(padded, 1);
    if (weight.gain() != nullptr) gain_.assign(weight.gain(), weight.gain() + padded);
    shift_.assign(padded, 0);
    take_bias(product, rows, padded);
    for (std::size_t n = 0; integers && n < padded; ++n) {
        gain_[n] *= product.activation.scale;
        shift_[n] = product.activation.zero * weight.integers()->channel_sums()[n];
    }
    if (product.residual.defined()) {
        residual_ = product.residual.const_data_ptr<float>();
        residual_rows_ = product.residual.numel() / channels_;
        require(!product.geglu && residual_rows_ > 0 && rows % residual_rows_ == 0 &&
                    residual_rows_ * channels_ == product.residual.numel(),
                "panel product: the residual ", concat(product.residual.sizes()),
                " does not fit a result of ", rows, " x ", channels_);
    }
    y_ = at::empty({rows, channels_}, product.out);
}

void Epilogue::take_bias(const PanelProduct& product, std::int64_t rows, std::size_t padded) {
    const std::int64_t channels = product.weight.out_features();
    const at::Tensor bias = product.bias.defined() ? product.bias.contiguous() : product.bias;
    const std::int64_t own = bias.defined() ? bias.numel() / channels : 1;
    require(!bias.defined() ||
                (bias.dim() <= 2 && bias.size(-1) == channels && own >= 1 && rows % own == 0),
            "panel product: the bias ", bias.defined() ? concat(bias.sizes()) : "",
            " does not fit ", channels, " output channels of ", rows, " rows");
    rows_a_bias_ = rows / own;
    bias_.assign(static_cast<std::size_t>(own) * padded, 0);
    for (std::int64_t row = 0; bias.defined() && row < own; ++row) {
        std::copy_n(bias.const_data_ptr<float>() + row * channels, channels,
                    bias_.data() + static_cast<std::size_t>(row) * padded);
    }
}

template <class Sum, class Out>
void Epilogue::finish(std::int64_t row, std::int64_t count, std::int64_t panel, const Sum* sums,
                      const Sum* gate, Out* y) const {
    const auto padded = static_cast<std::int64_t>(gain_.size());
    const auto channels_at = [&](std::int64_t of, std::int64_t bias_row) {
        return Channels{shift_.data() + of * width, gain_.data() + of * width,
                        bias_.data() + bias_row * padded + of * width};
    };
    const std::int64_t first = panel * width, there = std::min(width, channels_ - first);
    for_cpu_isa([&] ZOODIP_INLINED {
        for (std::int64_t i = 0; i < count;) {
            const std::int64_t own = (row + i) / rows_a_bias_;
            const std::int64_t end = std::min(count, (own + 1) * rows_a_bias_ - row);
            const Channels c = channels_at(panel, own);
            const Channels g = channels_at(panel + (gate ? panels_ : 0), own);
            for (; i < end; ++i) {
                const float* residual =
                    residual_ ? residual_ + (row + i) % residual_rows_ * channels_ + first
                              : nullptr;
                finish_row(sums + i * width, c, gate ? gate + i * width : nullptr, g, residual,
                           there, y + (row + i) * channels_ + first);
            }
        }
    });
}

template <class Sum>
void Epilogue::choose(std::int64_t row, std::int64_t count, std::int64_t panel, const Sum* sums,
                      const Sum* gate) const {
    if (y_.scalar_type() == at::kFloat) {
        finish(row, count, panel, sums, gate, static_cast<float*>(y_.data_ptr()));
    } else {
        finish(row, count, panel, sums, gate, static_cast<at::BFloat16*>(y_.data_ptr()));
    }
}

void Epilogue::write(std::int64_t row, std::int64_t count, std::int64_t panel, const float* sums,
                     const float* gate) const {
    choose(row, count, panel, sums, gate);
}

void Epilogue::write(std::int64_t row, std::int64_t count, std::int64_t panel,
                     const std::int32_t* sums, const std::int32_t* gate) const {
    choose(row, count, panel, sums, gate);
}

}  // namespace zoodip
