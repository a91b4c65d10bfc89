// The quantised types' codecs; tests/python/test_quantize.py compares them with optimum-quanto.
#include <cmath>
#include <limits>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "ops/frozen_weight.h"
#include "ops/weight_codec.h"

namespace zoodip {
namespace {

at::Tensor random(at::IntArrayRef sizes, std::uint64_t step) {
    return at::randn(sizes, at::detail::createCPUGenerator(step));
}

const std::vector<std::vector<std::int64_t>> shapes = {
    {5, 320}, {33, 129}, {1, 1}, {2, 0},        {0, 7},        {65, 37, 3, 3}, {320, 4, 3, 3},
    {4, 128}, {3, 97},   {2, 1}, {6, 32, 3, 3}, {8, 64, 1, 1}, {3, 1, 12, 12}, {0, 3, 3, 3},
};

class Codec : public testing::TestWithParam<WeightType> {
  protected:
    const WeightCodec& codec() const { return *find_codec(GetParam()); }
};

TEST_P(Codec, KernelAndPlainOperatorsAgree) {
    const auto plain =
        GetParam() == WeightType::int8 ? dequantize_int8_plain : dequantize_int4_plain;
    for (const auto& shape : shapes) {
        const PackedWeight packed = codec().quantize(random(shape, 1));
        for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
            const at::Tensor ours = codec().dequantize(packed, type);
            EXPECT_EQ(ours.sizes(), at::IntArrayRef(shape));
            EXPECT_TRUE(at::equal(ours, plain(packed, type))) << ours.sizes() << type;
            const auto format =
                shape.size() == 4 ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
            EXPECT_TRUE(plain(packed, type).is_contiguous(format));
        }
    }
}

TEST_P(Codec, SaysHowManyBytesItTakes) {
    for (const auto& shape : shapes) {
        EXPECT_EQ(codec().quantize(random(shape, 1)).bytes(), codec().bytes(shape))
            << at::IntArrayRef(shape);
    }
}

TEST_P(Codec, AFourDimensionalWeightIsChannelsLast) {
    const at::Tensor weight = random({16, 32, 3, 3}, 2);
    for (const at::Tensor& given : {weight, weight.contiguous(at::MemoryFormat::ChannelsLast)}) {
        const at::Tensor dense = codec().dequantize(codec().quantize(given), at::kFloat);
        EXPECT_TRUE(dense.is_contiguous(at::MemoryFormat::ChannelsLast));
        EXPECT_LT((dense - weight).norm().item<float>(), 0.2 * weight.norm().item<float>());
    }
}

TEST_P(Codec, RefusesWhatIsNoWeight) {
    EXPECT_THROW(codec().quantize(random({3}, 1)), Error);
    EXPECT_THROW(codec().quantize(random({3, 3}, 1).to(at::kHalf)), Error);
    EXPECT_THROW(codec().dequantize(codec().quantize(random({3, 3}, 1)), at::kHalf), Error);
}

TEST_P(Codec, IsFoundByItsName) {
    EXPECT_EQ(parse_weight_type(codec().name), GetParam());
}

INSTANTIATE_TEST_SUITE_P(Types, Codec, testing::Values(WeightType::int8, WeightType::int4));

TEST(WeightTypes, TheMixIsInt4InTheUNetAlone) {
    EXPECT_EQ(part_weight_type(WeightType::int4, Part::unet), WeightType::int4);
    EXPECT_EQ(part_weight_type(WeightType::int4, Part::text_encoder), WeightType::int8);
    EXPECT_EQ(part_weight_type(WeightType::int4, Part::vae), WeightType::int8);
    for (const WeightType type : {WeightType::int8, WeightType::dense}) {
        EXPECT_EQ(part_weight_type(type, Part::unet), type);
        EXPECT_EQ(part_weight_type(type, Part::vae), type);
    }
}

TEST(Int8, RoundsHalfToEvenAndKeepsRowsOfZeros) {
    const at::Tensor weight = at::tensor({127.0f, 0.5f, 1.5f, -2.5f, 0.0f, 0.0f, 0.0f, 0.0f});
    const PackedWeight q = quantize_int8(weight.view({2, 4}));
    EXPECT_TRUE(
        at::equal(q.values, at::tensor({127, 0, 2, -2, 0, 0, 0, 0}, at::kChar).view({2, 4})));
    EXPECT_TRUE(at::equal(q.scale, at::tensor({1.0f, 0.0f})));
    EXPECT_TRUE(
        at::equal(dequantize_int8(q, at::kFloat),
                  at::tensor({127.0f, 0.0f, 2.0f, -2.0f, 0.0f, 0.0f, 0.0f, 0.0f}).view({2, 4})));
}

// |W - s q| <= s / 2 by the definition of rounding, plus the rounding of W / s (127 * 2^-24 s) and
// of s * q (127 * 2^-24 s).
TEST(Int8, ErrorIsHalfAStep) {
    const at::Tensor weight = random({65, 37, 3, 3}, 11);
    const PackedWeight q = quantize_int8(weight);
    const at::Tensor error = (dequantize_int8(q, at::kFloat) - weight).abs().amax({1, 2, 3});
    EXPECT_TRUE((error <= q.scale * (0.5 + 2 * 127 * 0x1p-24)).all().item<bool>());
}

TEST(Int4, RoundsHalfToEvenAndPacksTheHalvesOfARow) {
    // From -3 to 12 in steps of one: W_q = W + 3.
    const at::Tensor weight = at::tensor({-3.0f, 12.0f, -2.5f, -1.5f, 0.0f, 2.5f});
    const PackedWeight q = quantize_int4(weight.view({2, 3}));
    EXPECT_TRUE(at::equal(q.scale, at::tensor({1.0f, 4.0f / 15}).view({2, 1})));
    const PackedWeight whole = quantize_int4(weight.view({1, 6}));
    EXPECT_TRUE(at::equal(whole.shift, at::tensor({3.0f}).view({1, 1})));
    const at::Tensor expected = at::tensor({0 | 2 << 4, 15 | 3 << 4, 0 | 6 << 4}, at::kByte);
    EXPECT_TRUE(at::equal(whole.values, expected.view({1, 3})));
    EXPECT_TRUE(at::equal(dequantize_int4(whole, at::kFloat),
                          at::tensor({-3.0f, 12.0f, -3.0f, -1.0f, 0.0f, 3.0f}).view({1, 6})));
}

// quanto's rule: 128, 96, 64 or 32, whichever divides the row first; short and odd rows are whole.
TEST(Int4, GroupsOfARow) {
    for (const auto& [row, groups] : std::vector<std::array<std::int64_t, 2>>{{27, 1},
                                                                              {36, 1},
                                                                              {96, 1},
                                                                              {128, 1},
                                                                              {129, 1},
                                                                              {160, 5},
                                                                              {192, 2},
                                                                              {320, 5},
                                                                              {768, 6},
                                                                              {960, 10},
                                                                              {1152, 9}}) {
        EXPECT_EQ(quantize_int4(random({2, row}, 1)).scale.size(1), groups) << row;
    }
    EXPECT_EQ(quantize_int4(random({2, 64, 3, 3}, 1)).scale.size(1), 6);
}

// |W - (s q - z)| <= s / 2 by the definition of rounding. s is at most the spread / 15 and so
// W + z <= 15 s; the roundings of s, W + z, their quotient, s q and s q - z are 2^-24 each of a
// number of at most 15 s, or of |W| for the last.
TEST(Int4, ErrorIsHalfAStepOfTheGroup) {
    const at::Tensor weight = random({16, 640}, 12);
    const PackedWeight q = quantize_int4(weight);
    const at::Tensor error = (dequantize_int4(q, at::kFloat) - weight).abs().view({16, 5, 128});
    const at::Tensor bound = q.scale * (0.5 + 4 * 15 * 0x1p-24) + q.shift.abs() * 0x1p-23;
    EXPECT_TRUE((error.amax({2}) <= bound).all().item<bool>());
}

TEST(Int4, GroupsOfEqualNumbersAreExact) {
    const at::Tensor weight = at::full({2, 320}, 0.3f);
    weight[1].fill_(0);
    const PackedWeight q = quantize_int4(weight);
    EXPECT_EQ(q.scale.abs().max().item<float>(), 0);
    EXPECT_TRUE(at::equal(dequantize_int4(q, at::kFloat), weight));
}

TEST(Int4, RefusesASpreadThatIsNoFloat) {
    const float most = std::numeric_limits<float>::max();
    EXPECT_THROW(quantize_int4(at::tensor({-most, most}).view({1, 2})), Error);
    EXPECT_NO_THROW(quantize_int4(at::tensor({-most / 4, most / 4}).view({1, 2})));
}

}  // namespace
}  // namespace zoodip
