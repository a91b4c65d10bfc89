// Products with INT8 weights against sums in float64, in every type and instruction set.
#include <cmath>
#include <cstring>
#include <span>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "ops/cpu_isa.h"
#include "ops/group_norm_cpu.h"
#include "ops/int4_panels.h"
#include "ops/panel_product.h"
#include "ops/transposed_panels.h"

namespace zoodip {
namespace {

at::Tensor random(at::IntArrayRef sizes, std::uint64_t step) {
    return at::randn(sizes, at::detail::createCPUGenerator(step));
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
    const auto bytes = [](const at::Tensor& x) {
        return x.clone(at::MemoryFormat::Contiguous).flatten().view(at::kByte);
    };
    return at::equal(bytes(a), bytes(b));
}

std::vector<ProductType> types_here() {
    std::vector<ProductType> all;
    for (const auto type : {ProductType::float32, ProductType::bfloat16, ProductType::int8}) {
        if (has_panel_product(type)) all.push_back(type);
    }
    return all;
}

constexpr ActivationScale scale{6.0f / 127, 128};  // -6.05 to 6

struct Shape {
    std::int64_t rows, in, out, height, width, kernel, stride, padding;
};

// The product in float64 and, for each number of it, the sum of |x| |w|.
struct Reference {
    at::Tensor value, magnitude;
};

Reference reference(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                    const Shape& s) {
    const at::Tensor w = weight.to(at::kDouble), in = x.to(at::kDouble);
    return {at::conv2d(in, w, bias.to(at::kDouble), s.stride, s.padding),
            at::conv2d(in.abs(), w.abs(), {}, s.stride, s.padding)};
}

// By how much a number of the result may be off.
// float32: K products and their sums are each off by 2^-24 of what they are at most, the scale and
// the bias by another two: (K + 3) 2^-24 sum |x| |w|, and 2^-24 of the result.
// bfloat16: before that every x moves by at most 2^-9 of itself; the integers of the weight are
// exact.
// int8: every x moves by at most half a scale, clamped beyond: half a scale times the kernel's sum
// |w|; the sums are exact up to the conversion to float32.
at::Tensor bound(ProductType type, const at::Tensor& weight, const Reference& r, const Shape& s) {
    const double terms = static_cast<double>(s.in * s.kernel * s.kernel + 3) * 0x1p-24;
    at::Tensor off = terms * r.magnitude + 0x1p-24 * r.value.abs();
    if (type == ProductType::bfloat16) off = off + 0x1p-9 * r.magnitude;
    if (type == ProductType::int8) {
        const at::Tensor sums = weight.to(at::kDouble).abs().flatten(1).sum(1).view({-1, 1, 1});
        off = off + 0.5001 * scale.scale * sums;
    }
    return off;
}

const Shape shapes[] = {
    {1, 16, 64, 1, 1, 1, 1, 0},   {3, 40, 70, 5, 7, 1, 1, 0},     {2, 30, 130, 9, 9, 3, 1, 1},
    {3, 64, 64, 8, 8, 3, 1, 1},   {2, 320, 96, 4, 4, 3, 1, 1},    {1, 20, 16, 17, 70, 3, 1, 1},
    {2, 64, 80, 16, 16, 3, 2, 1}, {2, 24, 64, 9, 12, 3, 2, 0},    {1, 48, 64, 130, 3, 3, 1, 1},
    {1, 2500, 64, 6, 6, 3, 1, 1}, {3, 1300, 192, 25, 3, 1, 1, 0}, {1, 17, 33, 15, 15, 3, 1, 1},
};

TEST(PanelProduct, ConvolutionsAreThoseOfFloat64) {
    for (const Shape& s : shapes) {
        const at::Tensor x = random({s.rows, s.in, s.height, s.width}, 1).clamp(-6, 6);
        const PanelWeight weight(random({s.out, s.in, s.kernel, s.kernel}, 2));
        const at::Tensor bias = random({s.out}, 3), dense = weight.dense(at::kFloat);
        const Reference r = reference(x, dense, bias, s);
        for (const ProductType type : types_here()) {
            const PanelProduct product{weight, type, scale, bias};
            const at::Tensor y = product.conv2d(x, s.stride, s.padding);
            ASSERT_EQ(y.sizes(), r.value.sizes());
            const at::Tensor excess = (y - r.value).abs() - bound(type, dense, r, s);
            EXPECT_LE(excess.max().item<double>(), 0)
                << "type " << static_cast<int>(type) << ", " << s.in << " -> " << s.out << ", "
                << s.height << " x " << s.width;
        }
    }
}

TEST(PanelProduct, LinearIsAConvolutionOfOnePixel) {
    const at::Tensor x = random({3, 77, 100}, 1), bias = random({70}, 3);
    const PanelWeight weight(random({70, 100}, 2));
    const at::Tensor image = x.permute({0, 2, 1}).unsqueeze(-1);
    const PanelWeight kernel(weight.dense(at::kFloat).view({70, 100, 1, 1}));
    for (const ProductType type : types_here()) {
        const at::Tensor y = PanelProduct{weight, type, scale, bias}.linear(x);
        const at::Tensor z = PanelProduct{kernel, type, scale, bias}.conv2d(image, 1, 0);
        EXPECT_TRUE(at::allclose(y, z.squeeze(-1).permute({0, 2, 1}), 1e-5, 1e-4));
    }
}

// A bfloat16 result is the float32 one rounded once; the residual is added before that.
TEST(PanelProduct, FinishesAsSeparateStepsWould) {
    const at::Tensor x = random({2, 9, 64}, 1), bias = random({128}, 3);
    const at::Tensor residual = random({2, 9, 128}, 4), one = random({1, 9, 128}, 5);
    const PanelWeight weight(random({128, 64}, 2));
    for (const ProductType type : types_here()) {
        PanelProduct product{weight, type, scale, bias};
        const at::Tensor plain = product.linear(x);
        product.residual = residual;
        EXPECT_TRUE(same_bits(product.linear(x), plain + residual));
        product.residual = one;
        EXPECT_TRUE(same_bits(product.linear(x), plain + one));
        product.out = at::kBFloat16;
        EXPECT_TRUE(same_bits(product.linear(x), (plain + one).to(at::kBFloat16)));
        product.residual = at::Tensor();
        product.out = at::kFloat;
        product.geglu = true;
        const at::Tensor wide = plain.to(at::kDouble);
        const at::Tensor value = wide.slice(-1, 0, 64), gate = wide.slice(-1, 64);
        const at::Tensor off = (product.linear(x) - value * at::gelu(gate)).abs();
        // gelu is off by 1e-7 |gate|, the products around it by three roundings.
        const at::Tensor allowed = value.abs() * gate.abs() * (1e-7 + 3 * 0x1p-24);
        EXPECT_LE((off - allowed).max().item<double>(), 1e-12);
    }
}

// The norm is the same whether it is written first or made where the product reads it.
TEST(PanelProduct, TakesANormAsItWouldItsResult) {
    for (const Shape& s : {Shape{2, 64, 64, 9, 7, 3, 1, 1},
                           {3, 32, 70, 16, 16, 3, 2, 1},
                           {1, 96, 64, 20, 20, 1, 1, 0}}) {
        const GroupNormed norm{random({s.rows, s.in, s.height, s.width}, 1),
                               32,
                               random({s.in}, 2),
                               random({s.in}, 3),
                               1e-5,
                               s.kernel == 3};
        const PanelWeight weight(random({s.out, s.in, s.kernel, s.kernel}, 4));
        for (const ProductType type : types_here()) {
            for (const CpuIsa isa : cpu_isas()) {
                const ForcedCpuIsa forced(isa);
                const PanelProduct product{weight, type, scale, random({s.out}, 5)};
                EXPECT_TRUE(same_bits(product.conv2d(norm, s.stride, s.padding),
                                      product.conv2d(group_norm_cpu(norm), s.stride, s.padding)))
                    << name_of(isa) << ", type " << static_cast<int>(type);
            }
        }
    }
}

TEST(PanelProduct, ARowHasTheSameBitsAnywhere) {
    for (const Shape& s : shapes) {
        const at::Tensor row = random({1, s.in, s.height, s.width}, 1);
        const at::Tensor others = random({2, s.in, s.height, s.width}, 7);
        const PanelWeight weight(random({s.out, s.in, s.kernel, s.kernel}, 2));
        for (const ProductType type : types_here()) {
            const PanelProduct product{weight, type, scale, random({s.out}, 3)};
            const at::Tensor alone = product.conv2d(row, s.stride, s.padding);
            for (int position = 0; position < 3; ++position) {
                std::vector<at::Tensor> rows{others.slice(0, 0, 1), others.slice(0, 1, 2)};
                rows.insert(rows.begin() + position, row);
                const at::Tensor y = product.conv2d(at::cat(rows), s.stride, s.padding);
                EXPECT_TRUE(same_bits(y[position], alone[0])) << "type " << static_cast<int>(type);
            }
        }
    }
}

TEST(PanelProduct, EveryInstructionSetGivesTheSameBits) {
    const at::Tensor x = random({2, 70, 9, 9}, 1).to(at::kBFloat16), bias = random({256}, 3);
    const at::Tensor w = random({256, 70, 3, 3}, 2);
    for (const ProductType type : types_here()) {
        for (const bool geglu : {false, true}) {
            for (const auto out : {at::kFloat, at::kBFloat16}) {
                const auto run = [&](CpuIsa isa) {
                    const ForcedCpuIsa forced(isa);
                    const PanelWeight weight(w.to(at::kHalf));
                    return PanelProduct{weight, type, scale, bias, {}, out, geglu}.conv2d(x, 1, 1);
                };
                const at::Tensor plain = run(CpuIsa::plain);
                for (const CpuIsa isa : cpu_isas()) {
                    EXPECT_TRUE(same_bits(run(isa), plain)) << name_of(isa);
                }
            }
        }
    }
}

TEST(PanelProduct, NanIsNotLostInFloatingPoint) {
    at::Tensor x = random({2, 64}, 1);
    x[0][5] = std::nan("");
    const PanelWeight weight(random({64, 64}, 2));
    for (const ProductType type : {ProductType::float32, ProductType::bfloat16}) {
        if (!has_panel_product(type)) continue;
        const at::Tensor y = PanelProduct{weight, type}.linear(x);
        EXPECT_TRUE(y[0].isnan().all().item<bool>());
        EXPECT_FALSE(y[1].isnan().any().item<bool>());
    }
}

TEST(PanelProduct, RefusesWhatDoesNotFit) {
    const PanelWeight weight(random({64, 32}, 2));
    EXPECT_THROW(PanelProduct{weight}.linear(random({3, 31}, 1)), Error);
    PanelProduct product{weight};
    product.geglu = true;  // halves of 32 are no whole panels
    EXPECT_THROW(product.linear(random({3, 32}, 1)), Error);
    const PanelWeight kernel(random({64, 32, 3, 3}, 2));
    EXPECT_THROW(PanelProduct{kernel}.conv2d(random({1, 32, 2, 2}, 1), 1, 0), Error);
}

TEST(PanelWeight, RefusesAKernelWithoutTaps) {
    EXPECT_THROW(PanelWeight(at::empty({64, 32, 0, 0})), Error);
    EXPECT_THROW(PanelWeight(at::empty({0, 32})), Error);
}

TEST(PanelProduct, AKernelWiderThanATileIsMultiplied) {
    const at::Tensor weight = random({64, 4, 131, 131}, 2), x = random({1, 4, 133, 133}, 1);
    const PanelWeight panels(weight);
    const at::Tensor y = PanelProduct{panels}.conv2d(x, 1, 0);
    const at::Tensor expected =
        at::conv2d(x.to(at::kDouble), panels.dense(at::kFloat).to(at::kDouble));
    // 68644 products a sum, which is about 262 then; in float32 off by 1e-4 of that at most.
    EXPECT_TRUE(at::allclose(y.to(at::kDouble), expected, 1e-4, 0.03));
}

TEST(PanelWeight, IsTheSameReadRowByRow) {
    const std::vector<std::int64_t> shapes_read[] = {{130, 30}, {64, 17, 3, 3}, {48, 64}};
    for (const auto& sizes : shapes_read) {
        for (const at::ScalarType type : {at::kHalf, at::kBFloat16, at::kFloat}) {
            const at::Tensor weight = random(sizes, 3).to(type);
            const auto* bytes = static_cast<const std::byte*>(weight.const_data_ptr());
            const PanelWeight read(sizes, type, [&](std::size_t from, auto out) {
                ASSERT_LE(from + out.size(), weight.nbytes());
                std::memcpy(out.data(), bytes + from, out.size());
            });
            const PanelWeight whole(weight);
            EXPECT_TRUE(same_bits(read.dense(at::kFloat), whole.dense(at::kFloat)));
            for (std::int64_t n = 0; n < sizes[0]; ++n) {
                EXPECT_EQ(read.channel_sums()[n], whole.channel_sums()[n]);
            }
        }
    }
}

TEST(PanelWeight, AReaderThatFailsIsHeard) {
    const auto fails = [](std::size_t from, std::span<std::byte>) {
        require(from < 20000, "cut off");
    };
    EXPECT_THROW(PanelWeight({256, 64}, at::kHalf, fails), Error);
    EXPECT_THROW(PanelWeight({256, 64}, at::kDouble, fails), Error);
}

TEST(PanelWeight, IntegersAndScalesAreThoseOfTheCodec) {
    const at::Tensor matrix = random({70, 33}, 1);
    const at::Tensor kernel = random({65, 17, 3, 3}, 2);
    for (const at::Tensor& weight : {matrix, kernel, at::zeros({64, 16})}) {
        for (const auto stored : {at::kFloat, at::kHalf, at::kBFloat16, at::kDouble}) {
            const at::Tensor as_stored = weight.to(stored);
            const PackedWeight expected = quantize_int8(as_stored.to(at::kFloat));
            const PanelWeight panels(as_stored);
            for (const auto type : {at::kFloat, at::kBFloat16}) {
                EXPECT_TRUE(same_bits(panels.dense(type), dequantize_int8(expected, type)));
            }
        }
    }
}

// All of a weight's numbers, put together from its panels.
template <class Number>
at::Tensor gathered(const PanelSource& weight) {
    constexpr std::int64_t pair = std::is_same_v<Number, float> ? 1 : 2;
    const std::int64_t in = weight.padded_in(), taps = weight.taps();
    std::vector<Number> numbers(static_cast<std::size_t>(weight.panel_size()));
    std::vector<at::Tensor> panels;
    for (std::int64_t panel = 0; panel < weight.panels(); ++panel) {
        weight.widen(panel, numbers.data());
        panels.push_back(at::from_blob(numbers.data(), {taps, in / pair, 64, pair},
                                       c10::CppTypeToScalarType<Number>::value)
                             .permute({2, 1, 3, 0})
                             .reshape({64, in, taps})
                             .to(at::kFloat)
                             .clone());
    }
    at::Tensor all = at::cat(panels);
    if (weight.gain() != nullptr) {
        all = all * at::from_blob(const_cast<float*>(weight.gain()), {all.size(0), 1, 1});
    }
    EXPECT_EQ(all.slice(0, weight.out_features()).count_nonzero().item<std::int64_t>(), 0);
    EXPECT_EQ(all.slice(1, weight.in_features()).count_nonzero().item<std::int64_t>(), 0);
    return all.slice(0, 0, weight.out_features())
        .slice(1, 0, weight.in_features())
        .reshape(weight.shape());
}

TEST(PanelSource, PanelsAreTheWeightAndItsTranspose) {
    for (const auto& sizes : std::vector<std::vector<std::int64_t>>{
             {70, 33}, {64, 64}, {130, 260}, {65, 17, 3, 3}, {48, 128, 3, 3}}) {
        const at::Tensor weight = random(sizes, 5);
        const PackedWeight packed = quantize_int4(weight);
        const PanelWeight int8(weight);
        const Int4Panels int4(packed);
        EXPECT_TRUE(same_bits(int4.dense(at::kFloat).contiguous(),
                              dequantize_int4(packed, at::kFloat).contiguous()));
        EXPECT_TRUE(same_bits(int4.dense(at::kBFloat16).contiguous(),
                              dequantize_int4(packed, at::kBFloat16).contiguous()));
        for (const PanelSource* source :
             {static_cast<const PanelSource*>(&int8), static_cast<const PanelSource*>(&int4)}) {
            const at::Tensor dense = source->dense(at::kFloat);
            EXPECT_TRUE(same_bits(gathered<float>(*source), dense.contiguous()));
            const TransposedPanels turned(*source);
            const at::Tensor back = turned.dense(at::kFloat);
            EXPECT_EQ(back.size(0), dense.size(1));
            // What the gain of the outputs is there lies on the inputs here.
            at::Tensor expected = back;
            if (source->gain() != nullptr) {
                std::vector<std::int64_t> inputs(sizes.size(), 1);
                inputs[1] = sizes[0];
                const at::Tensor gain =
                    at::from_blob(const_cast<float*>(source->gain()), {sizes[0]});
                expected = (back / gain.view(inputs)).round();
            }
            EXPECT_TRUE(same_bits(gathered<float>(turned), expected.contiguous()));
            EXPECT_TRUE(same_bits(gathered<at::BFloat16>(turned),
                                  expected.to(at::kBFloat16).to(at::kFloat).contiguous()));
        }
    }
}

TEST(PanelProduct, RefusesIntegersOfWeightsThatAreNone) {
    const Int4Panels weight(quantize_int4(random({64, 64}, 2)));
    const PanelProduct product{
        .weight = weight, .type = ProductType::int8, .activation = {0.1f, 3}};
    EXPECT_THROW(product.linear(random({3, 64}, 1)), Error);
}

}  // namespace
}  // namespace zoodip
