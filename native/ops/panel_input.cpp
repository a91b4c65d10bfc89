#include "ops/panel_input.h"

#include <algorithm>
#include <utility>

#include <ATen/ops/empty.h>

#include "core/error.h"
#include "ops/brgemm.h"
#include "ops/group_norm_cpu.h"
#include "ops/parallel.h"
#include "ops/vector_math.h"

namespace zoodip {
namespace {

// How a number of an activation is written in the product's type.
struct Rounding {
    float inverse = 1;  // 1 / scale, of uint8
    std::int32_t zero = 0;
    bool coarse = false;  // float32 numbers with no more bits than a bfloat16
    ZOODIP_INLINED void write(float x, at::BFloat16* to) const { store(x, to); }
    ZOODIP_INLINED void write(float x, float* to) const {
        *to = coarse ? widened(at::BFloat16(to_bfloat16_bits(x), at::BFloat16::from_bits())) : x;
    }
    ZOODIP_INLINED void write(float x, std::uint8_t* to) const {
        *to = static_cast<std::uint8_t>(integer(x));
    }
    ZOODIP_INLINED void write(float x, std::int16_t* to) const {
        *to = static_cast<std::int16_t>(integer(x));
    }
    // What a border of zeros is.
    float border() const { return static_cast<float>(zero); }

  private:
    ZOODIP_INLINED std::int32_t integer(float x) const {
        const float scaled = x * inverse;
        const float high = scaled < 512.0f ? scaled : 512.0f;
        const std::int32_t q = rounded_bits(high > -512.0f ? high : -512.0f) + zero;
        const std::int32_t below = q < 255 ? q : 255;
        return below > 0 ? below : 0;
    }
};

template <class From, class To>
void convert(const From* from, std::int64_t count, const Rounding& rounding, To* to) {
    for_cpu_isa([=] ZOODIP_INLINED {
        for (std::int64_t i = 0; i < count; ++i) rounding.write(widened(from[i]), to + i);
    });
}

// Lines of pixels, each pixel's channels side by side.
template <class From>
struct Image {
    const From* data;
    std::int64_t images, height, width, channels;
    const NormFactors* norm = nullptr;
};

template <class To>
void fill(To* to, std::int64_t count, float value) {
    std::fill_n(to, count, static_cast<To>(value));
}

template <class From, class To>
void pad_line(const Image<From>& x, std::int64_t image, std::int64_t y, const PaddedInput& out,
              std::int64_t padding, const Rounding& rounding, To* line) {
    if (y < 0 || y >= x.height) return fill(line, out.width * out.channels, rounding.border());
    fill(line, padding * out.channels, rounding.border());
    const From* from = x.data + (image * x.height + y) * x.width * x.channels;
    To* to = line + padding * out.channels;
    if (out.channels == x.channels && x.norm == nullptr) {
        convert(from, x.width * x.channels, rounding, to);
    } else {
        for (std::int64_t i = 0; i < x.width; ++i) {
            const From* pixel = from + i * x.channels;
            if (x.norm != nullptr) {
                normalize_pixel(
                    pixel, x.channels, *x.norm, image,
                    [rounding](float value, To* at) ZOODIP_INLINED { rounding.write(value, at); },
                    to + i * out.channels);
            } else {
                convert(pixel, x.channels, rounding, to + i * out.channels);
            }
            fill(to + i * out.channels + x.channels, out.channels - x.channels, rounding.border());
        }
    }
    const std::int64_t end = padding + x.width;
    fill(line + end * out.channels, (out.width - end) * out.channels, rounding.border());
}

template <class From, class To>
void pad(const Image<From>& x, const PaddedInput& out, std::int64_t padding,
         const Rounding& rounding, To* to) {
    const std::int64_t row = out.width * out.channels;
    parallel_rows(out.images * out.height, row, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
            pad_line(x, i / out.height, i % out.height - padding, out, padding, rounding,
                     to + i * row);
        }
    });
}

// Whether bfloat16 inputs are multiplied as float32 numbers.
bool coarse(ProductType type) {
    return type == ProductType::bfloat16 && !bfloat16_is_faster();
}

at::ScalarType scalar_type(ProductType type) {
    if (type == ProductType::int8) return has_int8_brgemm() ? at::kByte : at::kShort;
    return type == ProductType::float32 || coarse(type) ? at::kFloat : at::kBFloat16;
}

template <class From>
void write(const Image<From>& x, PaddedInput& out, std::int64_t padding,
           const PanelProduct& product) {
    Rounding rounding;
    if (product.type == ProductType::int8) {
        rounding.inverse = 1 / product.activation.scale;
        rounding.zero = product.activation.zero;
    }
    const at::ScalarType type = scalar_type(product.type);
    out.numbers = at::empty({out.images, out.height, out.width, out.channels}, type);
    rounding.coarse = coarse(product.type);
    if (type == at::kFloat) {
        pad(x, out, padding, rounding, out.numbers.mutable_data_ptr<float>());
    } else if (type == at::kBFloat16) {
        pad(x, out, padding, rounding, out.numbers.mutable_data_ptr<at::BFloat16>());
    } else if (type == at::kShort) {
        pad(x, out, padding, rounding, out.numbers.mutable_data_ptr<std::int16_t>());
    } else {
        pad(x, out, padding, rounding, out.numbers.mutable_data_ptr<std::uint8_t>());
    }
}

// memory: contiguous, in the order [images, height, width, channels].
void write(const at::Tensor& memory, const Image<void>& shape, PaddedInput& out,
           std::int64_t padding, const PanelProduct& product) {
    if (memory.scalar_type() == at::kFloat) {
        write(Image<float>{memory.const_data_ptr<float>(), shape.images, shape.height, shape.width,
                           shape.channels, shape.norm},
              out, padding, product);
    } else if (memory.scalar_type() == at::kBFloat16) {
        write(Image<at::BFloat16>{memory.const_data_ptr<at::BFloat16>(), shape.images, shape.height,
                                  shape.width, shape.channels, shape.norm},
              out, padding, product);
    } else {
        fail("panel product: needs float32 or bfloat16, got ", memory.toString());
    }
}

}  // namespace

PaddedInput flat_input(const at::Tensor& x, const PanelProduct& product) {
    const at::Tensor memory = x.contiguous();
    const std::int64_t channels = x.size(-1), rows = x.numel() / channels;
    PaddedInput out{{}, 1, rows, 1, product.weight.padded_in(), 1, rows, 1};
    if (channels == out.channels && x.scalar_type() == scalar_type(product.type) &&
        !coarse(product.type)) {
        out.numbers = memory;
    } else {
        write(memory, {nullptr, 1, rows, 1, channels}, out, 0, product);
    }
    std::swap(out.height, out.width);  // one line of all
    return out;
}

PaddedInput padded_input(const at::Tensor& x, const NormFactors* norm, const PanelProduct& product,
                         std::int64_t stride, std::int64_t padding) {
    const at::Tensor memory = x.contiguous(at::MemoryFormat::ChannelsLast);
    const std::int64_t height = x.size(2) + 2 * padding, width = x.size(3) + 2 * padding;
    const std::int64_t kernel = product.weight.kernel();
    require(height >= kernel && width >= kernel, "conv2d: a kernel of ", kernel,
            " needs a picture of at least its size, got ", x.size(3), " x ", x.size(2));
    PaddedInput out{{},
                    x.size(0),
                    height,
                    width,
                    product.weight.padded_in(),
                    (height - kernel) / stride + 1,
                    (width - kernel) / stride + 1,
                    stride};
    write(memory, {nullptr, x.size(0), x.size(2), x.size(3), x.size(1), norm}, out, padding,
          product);
    return out;
}

}  // namespace zoodip
