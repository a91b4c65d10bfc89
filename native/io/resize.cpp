#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "io/decoders.h"

namespace zoodip {
namespace {

// Keys' cubic with a = -1/2.
double cubic(double x) {
    constexpr double a = -0.5;
    x = std::abs(x);
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
    return 0;
}

// The source pixels behind one output pixel and their weights, which add up to 1 but for rounding.
// Weights are multiples of 2^-22, as in Pillow, so that every sum is exact: a sum that lies next to
// a half rounds the same way on every machine.
struct Taps {
    int first = 0;
    std::vector<double> weights;
};

// `size` outputs over the part [start, start + extent) of a line of `length` pixels. When shrinking
// the kernel is widened, so that no source pixel is skipped.
std::vector<Taps> make_taps(int size, double start, double extent, int length) {
    // Pillow keeps its box in single precision.
    const auto low = static_cast<float>(start), high = static_cast<float>(start + extent);
    const double scale = static_cast<double>(high - low) / size;
    const double widen = std::max(1.0, scale);
    std::vector<Taps> taps(static_cast<std::size_t>(size));
    for (int i = 0; i < size; ++i) {
        Taps& tap = taps[static_cast<std::size_t>(i)];
        const double centre = low + (i + 0.5) * scale;
        tap.first = std::max(0, static_cast<int>(centre - 2 * widen + 0.5));
        const int end = std::min(length, static_cast<int>(centre + 2 * widen + 0.5));
        double sum = 0;
        for (int x = tap.first; x < end; ++x) {
            tap.weights.push_back(cubic((x - centre + 0.5) * (1.0 / widen)));
            sum += tap.weights.back();
        }
        for (double& weight : tap.weights) weight = std::round(weight / sum * 0x1p22) * 0x1p-22;
    }
    return taps;
}

std::uint8_t to_byte(double value) {
    return static_cast<std::uint8_t>(std::clamp(std::floor(value + 0.5), 0.0, 255.0));
}

// One pass: output (line, i) from source pixels `step` bytes apart.
void resample_line(const std::uint8_t* line, std::size_t step, const std::vector<Taps>& taps,
                   std::uint8_t* out, std::size_t out_step) {
    for (std::size_t i = 0; i < taps.size(); ++i) {
        double sums[3] = {};
        const std::uint8_t* from = line + static_cast<std::size_t>(taps[i].first) * step;
        for (const double weight : taps[i].weights) {
            for (int c = 0; c < 3; ++c) sums[c] += weight * from[c];
            from += step;
        }
        for (int c = 0; c < 3; ++c)
            out[i * out_step + static_cast<std::size_t>(c)] = to_byte(sums[c]);
    }
}

}  // namespace

Picture crop_resize(const Picture& picture, int width, int height) {
    require(picture.width > 0 && picture.height > 0 && width > 0 && height > 0,
            "crop_resize: needs sizes above zero, got ", picture.width, " x ", picture.height,
            " to ", width, " x ", height);
    require(picture.rgb.size() == std::size_t{3} * static_cast<std::size_t>(picture.width) *
                                      static_cast<std::size_t>(picture.height),
            "crop_resize: needs width x height x 3 bytes, got ", picture.width, " x ",
            picture.height, " and ", picture.rgb.size(), " bytes");
    const double scale = std::min(static_cast<double>(picture.width) / width,
                                  static_cast<double>(picture.height) / height);
    const double crop_width = scale * width, crop_height = scale * height;
    const auto across =
        make_taps(width, (picture.width - crop_width) / 2, crop_width, picture.width);
    auto down = make_taps(height, (picture.height - crop_height) / 2, crop_height, picture.height);
    // Only the rows that the second pass reads, so that the picture between the passes is never
    // much larger than both the source and the result.
    const int first = down.front().first;
    const int end = down.back().first + static_cast<int>(down.back().weights.size());
    Picture narrow = make_picture(width, end - first);
    const auto source_row = static_cast<std::size_t>(picture.width) * 3;
    const auto row = static_cast<std::size_t>(width) * 3;
    for (int y = first; y < end; ++y) {
        resample_line(&picture.rgb[static_cast<std::size_t>(y) * source_row], 3, across,
                      &narrow.rgb[static_cast<std::size_t>(y - first) * row], 3);
    }
    for (Taps& tap : down) tap.first -= first;
    Picture out = make_picture(width, height);
    for (std::size_t x = 0; x < static_cast<std::size_t>(width); ++x) {
        resample_line(&narrow.rgb[3 * x], row, down, &out.rgb[3 * x], row);
    }
    return out;
}

}  // namespace zoodip
