#include "ops/panel_product.h"

#include <algorithm>
#include <memory>
#include <type_traits>
#include <vector>

#include <ATen/ops/zeros.h>

#include "core/error.h"
#include "ops/brgemm.h"
#include "ops/group_norm_cpu.h"
#include "ops/panel_epilogue.h"
#include "ops/panel_input.h"
#include "ops/panel_weight.h"
#include "ops/parallel.h"
#include "ops/transposed_panels.h"

namespace zoodip {
namespace {

constexpr std::int64_t width = PanelSource::width;
constexpr std::int64_t block_rows = 64;             // of one micro kernel call: its sums stay in L1
constexpr std::int64_t tile_rows = 2 * block_rows;  // with what lies between short lines
constexpr std::int64_t tile_size = tile_rows * width;
constexpr std::int64_t narrow_image = 16;  // below, several lines go into one call

// Rows of the result that one call of the micro kernel makes: `lines` lines of `count` pixels,
// `pitch` rows of sums apart; what lies between them belongs to the padding and is dropped.
struct Block {
    std::int64_t input;  // number in the padded input where the first tap begins
    std::int64_t rows;   // of sums
    std::int64_t out;    // row of the result
    std::int64_t lines, count, pitch;
};

std::vector<Block> blocks_of(const PaddedInput& in) {
    std::vector<Block> blocks;
    const bool several = in.stride == 1 && in.out_width < narrow_image && in.out_height > 1;
    const std::int64_t lines =
        several ? std::clamp<std::int64_t>(tile_rows / in.width, 1, in.out_height) : 1;
    for (std::int64_t image = 0; image < in.images; ++image) {
        for (std::int64_t y = 0; y < in.out_height; y += lines) {
            for (std::int64_t x = 0; x < in.out_width; x += block_rows) {
                const std::int64_t there = std::min(lines, in.out_height - y);
                const std::int64_t count = std::min(block_rows, in.out_width - x);
                const std::int64_t from = (image * in.height + y * in.stride) * in.width;
                blocks.push_back(
                    {(from + x * in.stride) * in.channels, (there - 1) * in.width + count,
                     (image * in.out_height + y) * in.out_width + x, there, count, in.width});
            }
        }
    }
    return blocks;
}

template <class Input>
struct Numbers;
template <>
struct Numbers<float> {
    using Weight = float;
    using Sum = float;
};
template <>
struct Numbers<at::BFloat16> {
    using Weight = at::BFloat16;
    using Sum = float;
};
template <>
struct Numbers<std::int16_t> {
    using Weight = std::int16_t;
    using Sum = std::int32_t;
};
template <>
struct Numbers<std::uint8_t> {
    using Weight = std::int8_t;
    using Sum = std::int32_t;
};

// Makes the numbers of a panel.
template <class Weight>
void widen(const PanelSource& weight, std::int64_t index, Weight* to) {
    if constexpr (std::is_same_v<Weight, std::int16_t>) {
        weight.integers()->widen(index, to);
    } else {
        weight.widen(index, to);
    }
}

// A thread's group of panels, as the micro kernel takes them.
template <class Weight>
class Panels {
  public:
    Panels(const PanelSource& weight, std::int64_t count)
        : weight_(weight),
          numbers_(std::make_unique_for_overwrite<Weight[]>(
              static_cast<std::size_t>(count * weight.panel_size()))) {}

    void hold(std::int64_t slot, std::int64_t index) { widen(weight_, index, at(slot)); }
    Weight* at(std::int64_t slot) { return numbers_.get() + slot * weight_.panel_size(); }

  private:
    const PanelSource& weight_;
    std::unique_ptr<Weight[]> numbers_;
};

// INT8 is multiplied where it lies.
template <>
class Panels<std::int8_t> {
  public:
    Panels(const PanelSource& weight, std::int64_t count)
        : weight_(*weight.integers()), held_(static_cast<std::size_t>(count)) {}

    void hold(std::int64_t slot, std::int64_t index) {
        held_[static_cast<std::size_t>(slot)] = weight_.panel(index);
    }
    const std::int8_t* at(std::int64_t slot) { return held_[static_cast<std::size_t>(slot)]; }

  private:
    const PanelWeight& weight_;
    std::vector<const std::int8_t*> held_;
};

// How the work is cut: into tasks of some blocks times a group of panels. A group stays in the
// cache while the blocks go by, each of which is read once for all of its panels. A panel that is
// larger than that goes by in slabs, and the sums of a whole task wait for the next slab.
struct Cut {
    std::int64_t blocks, panels;  // of a task
    std::int64_t rows, columns;   // of tasks
    std::int64_t together;        // blocks that share a slab
    std::int64_t slab;            // input channels of a tap, at most
};

Cut cut(std::int64_t blocks, std::int64_t panels, const PanelSource& weight, std::int64_t halves,
        std::int64_t number_bytes) {
    constexpr std::int64_t task_blocks = 16, group_bytes = 512 << 10, slab_bytes = 256 << 10;
    const std::int64_t bytes = weight.panel_size() * number_bytes;
    const std::int64_t group = std::clamp<std::int64_t>(group_bytes / (halves * bytes), 1, panels);
    const std::int64_t columns = (panels + group - 1) / group;
    const bool large = bytes > slab_bytes;
    return {task_blocks,
            (panels + columns - 1) / columns,
            (blocks + task_blocks - 1) / task_blocks,
            columns,
            large ? task_blocks : 1,
            large ? slab_bytes / (width * number_bytes) : weight.padded_in()};
}

template <class Input>
class Multiplication {
  public:
    using Weight = typename Numbers<Input>::Weight;
    using Sum = typename Numbers<Input>::Sum;

    Multiplication(const PanelProduct& product, const PaddedInput& in, const Epilogue& epilogue)
        : in_(in),
          weight_(product.weight),
          epilogue_(epilogue),
          blocks_(blocks_of(in)),
          halves_(product.geglu ? 2 : 1),
          panels_(weight_.panels() / halves_),
          cut_(cut(static_cast<std::int64_t>(blocks_.size()), panels_, weight_, halves_,
                   static_cast<std::int64_t>(sizeof(Weight)))) {}

    void run() const {
        share_tasks(cut_.rows * cut_.columns, [&](SharedTasks& tasks) {
            const BrgemmScope scope;
            Panels<Weight> panels(weight_, halves_ * cut_.panels);
            const auto sums = std::make_unique_for_overwrite<Sum[]>(
                static_cast<std::size_t>(halves_ * cut_.together * tile_size));
            std::int64_t held = -1;
            tasks.each([&](std::int64_t task) {
                const std::int64_t column = task / cut_.rows, first = column * cut_.panels;
                const std::int64_t count = std::min(cut_.panels, panels_ - first);
                for (std::int64_t i = 0; held != column && i < halves_ * count; ++i) {
                    panels.hold(i, first + i / halves_ + i % halves_ * panels_);
                }
                held = column;
                multiply(task % cut_.rows, first, count, panels, sums.get());
            });
        });
    }

  private:
    // A task.
    void multiply(std::int64_t row, std::int64_t first, std::int64_t count, Panels<Weight>& panels,
                  Sum* sums) const {
        const auto all = static_cast<std::int64_t>(blocks_.size());
        const std::int64_t end = std::min((row + 1) * cut_.blocks, all);
        for (std::int64_t b = row * cut_.blocks; b < end; b += cut_.together) {
            const std::int64_t last = std::min(b + cut_.together, end);
            for (std::int64_t i = 0; i < count; ++i) {
                for (std::int64_t half = 0; half < halves_; ++half) {
                    sum(b, last, panels.at(i * halves_ + half),
                        sums + half * cut_.together * tile_size);
                }
                finish(b, last, first + i, sums);
            }
        }
    }

    // The sums of some blocks: over the taps one after another, over the input channels within.
    void sum(std::int64_t begin, std::int64_t end, const Weight* panel, Sum* sums) const {
        const auto* input = static_cast<const Input*>(in_.numbers.const_data_ptr());
        BrgemmShape shape{0, width, 0, in_.stride * in_.channels, width, width};
        for (std::int64_t tap = 0; tap < weight_.taps(); ++tap) {
            const std::int64_t shift = tap / weight_.kernel() * in_.width + tap % weight_.kernel();
            for (std::int64_t k = 0; k < in_.channels; k += cut_.slab) {
                shape.k = std::min(cut_.slab, in_.channels - k);
                const Weight* slab = panel + (tap * in_.channels + k) * width;
                for (std::int64_t b = begin; b < end; ++b) {
                    const Block& block = blocks_[static_cast<std::size_t>(b)];
                    shape.m = block.rows;
                    brgemm(shape, input + block.input + shift * in_.channels + k, slab,
                           sums + (b - begin) * tile_size);
                }
                shape.accumulate = true;
            }
        }
    }

    void finish(std::int64_t begin, std::int64_t end, std::int64_t panel, const Sum* sums) const {
        const Sum* gate = halves_ == 2 ? sums + cut_.together * tile_size : nullptr;
        for (std::int64_t b = begin; b < end; ++b) {
            const Block& block = blocks_[static_cast<std::size_t>(b)];
            for (std::int64_t line = 0; line < block.lines; ++line) {
                const std::int64_t at = (b - begin) * tile_size + line * block.pitch * width;
                epilogue_.write(block.out + line * block.count, block.count, panel, sums + at,
                                gate ? gate + at : nullptr);
            }
        }
    }

    const PaddedInput& in_;
    const PanelSource& weight_;
    const Epilogue& epilogue_;
    std::vector<Block> blocks_;
    std::int64_t halves_, panels_;  // of the result
    Cut cut_;
};

at::Tensor run(const PanelProduct& product, const PaddedInput& in) {
    require(product.type != ProductType::int8 || product.weight.integers() != nullptr,
            "panel product: these weights are no 8-bit integers");
    Epilogue epilogue(product, in.images * in.out_height * in.out_width);
    switch (in.numbers.scalar_type()) {
        case at::kFloat:
            Multiplication<float>(product, in, epilogue).run();
            break;
        case at::kBFloat16:
            Multiplication<at::BFloat16>(product, in, epilogue).run();
            break;
        case at::kShort:
            Multiplication<std::int16_t>(product, in, epilogue).run();
            break;
        default:
            Multiplication<std::uint8_t>(product, in, epilogue).run();
    }
    return epilogue.take();
}

}  // namespace

bool has_panel_product(ProductType type) {
    return type == ProductType::float32    ? has_float_brgemm()
           : type == ProductType::bfloat16 ? has_float_brgemm() || has_bfloat16_brgemm()
                                           : has_int8_brgemm() || has_int16_brgemm();
}

at::Tensor PanelProduct::linear(const at::Tensor& x) const {
    require(x.size(-1) == weight.in_features(), "linear: weight has ", weight.in_features(),
            " inputs, activation has ", x.size(-1));
    std::vector<std::int64_t> shape = x.sizes().vec();
    const at::Tensor y = run(*this, flat_input(x, *this));
    shape.back() = y.size(1);
    return y.view(shape);
}

at::Tensor PanelProduct::conv2d(const at::Tensor& x, std::int64_t stride,
                                std::int64_t padding) const {
    return image(x, nullptr, stride, padding);
}

at::Tensor PanelProduct::conv2d(const GroupNormed& x, std::int64_t stride,
                                std::int64_t padding) const {
    const NormFactors factors = norm_factors(x);
    return image(x.x, &factors, stride, padding);
}

at::Tensor PanelProduct::image(const at::Tensor& x, const NormFactors* norm, std::int64_t stride,
                               std::int64_t padding) const {
    require(x.dim() == 4 && x.size(1) == weight.in_features(), "conv2d: weight has ",
            weight.in_features(), " input channels, activation has ",
            x.dim() == 4 ? x.size(1) : -1);
    const PaddedInput in = padded_input(x, norm, *this, stride, padding);
    return run(*this, in).view({in.images, in.out_height, in.out_width, -1}).permute({0, 3, 1, 2});
}

namespace {

// dy with zeros between its pixels where the product left out pixels, of which `height` and `width`
// are made.
at::Tensor spread(const at::Tensor& dy, std::int64_t stride, std::int64_t height,
                  std::int64_t width_) {
    if (stride == 1 && dy.size(2) == height && dy.size(3) == width_) return dy;
    at::Tensor wide =
        at::zeros({dy.size(0), height, width_, dy.size(1)}, dy.options()).permute({0, 3, 1, 2});
    wide.slice(2, 0, (dy.size(2) - 1) * stride + 1, stride)
        .slice(3, 0, (dy.size(3) - 1) * stride + 1, stride)
        .copy_(dy);
    return wide;
}

// The gain of a weight's output channels, which its gradient takes in.
NormFactors gain_of(const PanelSource& weight, std::int64_t rows) {
    const auto channels = static_cast<std::size_t>(weight.out_features());
    NormFactors factors;
    for (std::int64_t row = 0; row < rows; ++row) {
        factors.gain.insert(factors.gain.end(), weight.gain(), weight.gain() + channels);
    }
    factors.offset.assign(factors.gain.size(), 0);
    return factors;
}

}  // namespace

at::Tensor panel_gradient(const PanelProduct& product, const at::Tensor& dy, at::IntArrayRef x,
                          std::int64_t stride, std::int64_t padding) {
    const TransposedPanels turned(product.weight);
    const PanelProduct back{.weight = turned, .type = product.type, .out = product.out};
    const std::int64_t kernel = turned.kernel(), border = kernel - 1 - padding;
    require(border >= 0, "conv2d: no gradient for a padding of ", padding, " about a kernel of ",
            kernel);
    const bool linear = product.weight.shape().size() == 2;
    const std::int64_t pixels = dy.numel() / product.weight.out_features();
    const at::Tensor in =
        linear ? dy.reshape({1, 1, pixels, product.weight.out_features()}).permute({0, 3, 1, 2})
               : spread(dy, stride, x[2] + kernel - 1 - 2 * border, x[3] + kernel - 1 - 2 * border);
    const bool scaled = product.weight.gain() != nullptr;
    const NormFactors gain = scaled ? gain_of(product.weight, in.size(0)) : NormFactors{};
    const at::Tensor dx = back.image(in, scaled ? &gain : nullptr, 1, border);
    return linear ? dx.permute({0, 2, 3, 1}).reshape(x) : dx;
}

}  // namespace zoodip
