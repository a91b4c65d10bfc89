#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "io/picture.h"

namespace zoodip {
namespace {

// Weights are whole numbers of 2^-22, so that sums are exact and do not depend on the machine.
// 255 * 2^22 times the largest sum of magnitudes of a bicubic's weights (1.25) fits in 31 bits.
constexpr int weight_bits = 22;

// The kernel of Keys, "Cubic Convolution Interpolation for Digital Image Processing", 1981.
double bicubic(double x) {
    constexpr double a = -0.5;
    x = std::abs(x);
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
    return 0;
}

// A stretch of an axis, in pixels. Single precision, as Pillow keeps its box.
struct Stretch {
    float low, high;
};

// Output element i is the sum over j of weights[i * taps + j] * input[first[i] + j].
struct Weights {
    std::size_t taps = 0;
    std::vector<std::int32_t> values;
    std::vector<int> first, count;
};

// Fills row `i` for an output element whose centre lies at `center` of the input.
void weigh(Weights& weights, std::size_t i, double center, double scale, double support, int size) {
    const int first = std::max(static_cast<int>(center - support + 0.5), 0);
    const int last = std::min(static_cast<int>(center + support + 0.5), size);
    std::vector<double> row;
    double total = 0;
    for (int j = first; j < last; ++j) {
        row.push_back(bicubic((j - center + 0.5) * (1.0 / scale)));
        total += row.back();
    }
    for (std::size_t j = 0; j < row.size(); ++j) {
        const double units = row[j] / total * (1 << weight_bits);
        weights.values[i * weights.taps + j] = static_cast<std::int32_t>(std::round(units));
    }
    weights.first[i] = first;
    weights.count[i] = last - first;
}

Weights make_weights(Stretch stretch, int in_size, int out_size) {
    const double step = static_cast<double>(stretch.high - stretch.low) / out_size;
    const double scale = std::max(step, 1.0);  // enlarging interpolates, shrinking averages
    const double support = 2 * scale;
    Weights weights;
    const auto count = static_cast<std::size_t>(out_size);
    weights.taps = static_cast<std::size_t>(std::ceil(support)) * 2 + 1;
    weights.values.resize(count * weights.taps);
    weights.first.resize(count);
    weights.count.resize(count);
    for (std::size_t i = 0; i < count; ++i) {
        const double center = stretch.low + (static_cast<double>(i) + 0.5) * step;
        weigh(weights, i, center, scale, support, in_size);
    }
    return weights;
}

// The weighted sum of elements `step` apart, rounded to 8 bits.
std::uint8_t weighted(const std::uint8_t* in, std::size_t step, const std::int32_t* weights,
                      int count) {
    std::int32_t sum = 1 << (weight_bits - 1);
    for (int j = 0; j < count; ++j) sum += in[static_cast<std::size_t>(j) * step] * weights[j];
    return static_cast<std::uint8_t>(std::clamp(sum >> weight_bits, 0, 255));
}

// Scales the rows [top, bottom) along x.
Picture resize_rows(const Picture& in, const Weights& weights, int top, int bottom) {
    Picture out{static_cast<int>(weights.first.size()), bottom - top, {}};
    out.rgb.resize(std::size_t{3} * out.width * out.height);
    std::uint8_t* to = out.rgb.data();
    for (int y = top; y < bottom; ++y) {
        const std::uint8_t* row = in.rgb.data() + std::size_t{3} * in.width * y;
        for (std::size_t x = 0; x < weights.first.size(); ++x) {
            const std::uint8_t* from = row + std::size_t{3} * weights.first[x];
            const std::int32_t* values = weights.values.data() + x * weights.taps;
            for (int c = 0; c < 3; ++c) *to++ = weighted(from + c, 3, values, weights.count[x]);
        }
    }
    return out;
}

// Scales along y a picture whose first row is row `top` of the input that the weights speak of.
Picture resize_columns(const Picture& in, const Weights& weights, int top) {
    Picture out{in.width, static_cast<int>(weights.first.size()), {}};
    const std::size_t stride = std::size_t{3} * in.width;
    out.rgb.resize(stride * out.height);
    std::uint8_t* to = out.rgb.data();
    for (std::size_t y = 0; y < weights.first.size(); ++y) {
        const std::uint8_t* from = in.rgb.data() + stride * (weights.first[y] - top);
        const std::int32_t* values = weights.values.data() + y * weights.taps;
        for (std::size_t x = 0; x < stride; ++x) {
            *to++ = weighted(from + x, stride, values, weights.count[y]);
        }
    }
    return out;
}

// The centred stretch of `length` of an axis of `size` pixels.
Stretch centred(double length, int size) {
    const double low = (size - length) / 2;
    return {static_cast<float>(low), static_cast<float>(low + length)};
}

}  // namespace

Picture crop_resize(const Picture& picture, int width, int height) {
    require(width > 0 && height > 0 && width <= 32768 && height <= 32768,
            "crop_resize: needs a target of 1 to 32768 pixels a side, got ", width, " x ", height);
    const double in_width = picture.width, in_height = picture.height;
    require(in_width > 0 && in_height > 0 && picture.rgb.size() == 3 * in_width * in_height,
            "crop_resize: a picture of ", picture.width, " x ", picture.height, " cannot have ",
            picture.rgb.size(), " bytes");
    const Stretch x = centred(std::min(in_width, in_height * width / height), picture.width);
    const Stretch y = centred(std::min(in_height, in_width * height / width), picture.height);
    const Weights across = make_weights(x, picture.width, width);
    const Weights down = make_weights(y, picture.height, height);
    const int top = down.first.front();
    const int bottom = down.first.back() + down.count.back();
    return resize_columns(resize_rows(picture, across, top, bottom), down, top);
}

}  // namespace zoodip
