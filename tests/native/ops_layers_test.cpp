// Every operation gives a row the same bits at any position and beside any neighbours.
#include <functional>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/worker_pool.h"
#include "ops/layers.h"

namespace zoodip {
namespace {

at::Tensor random(at::IntArrayRef sizes, std::uint64_t step) {
    return at::randn(sizes, at::detail::createCPUGenerator(step));
}

using Op = std::function<at::Tensor(const at::Tensor&)>;

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
    return at::equal(a.contiguous().view(at::kByte), b.contiguous().view(at::kByte));
}

// The same row at each of three positions, beside two different sets of neighbours.
void expect_row_identity(const Op& op, at::IntArrayRef row_sizes, at::ScalarType type) {
    const bool image = row_sizes.size() == 3;
    const auto batch = [&](const at::Tensor& row, int position, std::uint64_t neighbours) {
        std::vector<at::Tensor> rows;
        for (int i = 0; i < 3; ++i) {
            rows.push_back(
                i == position ? row : random(row_sizes, neighbours + static_cast<unsigned>(i)));
        }
        const at::Tensor x = at::stack(rows).to(type);
        return image ? x.contiguous(at::MemoryFormat::ChannelsLast) : x;
    };
    const at::Tensor row = random(row_sizes, 1);
    const at::Tensor expected = op(batch(row, 0, 10))[0];
    for (int position = 0; position < 3; ++position) {
        for (const std::uint64_t neighbours : {20u, 30u}) {
            EXPECT_TRUE(same_bits(op(batch(row, position, neighbours))[position], expected))
                << "position " << position << ", " << type;
        }
    }
}

struct Case {
    WeightType weights;
    ComputeType compute;
};

class RowIdentity : public testing::TestWithParam<Case> {
  protected:
    FrozenWeight weight(at::IntArrayRef sizes) const {
        return {random(sizes, 99), GetParam().weights, GetParam().compute, at::kCPU};
    }
    at::ScalarType type() const { return scalar_type(GetParam().compute); }
};

TEST_P(RowIdentity, Linear) {
    // Widths of SD 1.5, an odd one, and token counts that leave remainders in every blocking.
    for (const auto& [tokens, in, out] :
         std::vector<std::array<std::int64_t, 3>>{{77, 768, 768},
                                                  {77, 768, 3072},
                                                  {64, 1280, 1280},
                                                  {1, 320, 1280},
                                                  {33, 63, 129},
                                                  {256, 640, 5120}}) {
        const FrozenWeight w = weight({out, in});
        const at::Tensor bias = random({out}, 5);
        expect_row_identity([&](const at::Tensor& x) { return linear(x, w, bias); }, {tokens, in},
                            type());
    }
}

TEST_P(RowIdentity, Conv2d) {
    for (const auto& [in, out, side, kernel, stride] :
         std::vector<std::array<std::int64_t, 5>>{{4, 320, 32, 3, 1},
                                                  {320, 320, 32, 3, 1},
                                                  {320, 320, 32, 3, 2},
                                                  {1280, 1280, 8, 3, 1},
                                                  {640, 640, 16, 3, 1},
                                                  {320, 4, 32, 3, 1},
                                                  {33, 17, 9, 3, 1}}) {
        const FrozenWeight w = weight({out, in, kernel, kernel});
        const at::Tensor bias = random({out}, 5);
        expect_row_identity(
            [&](const at::Tensor& x) { return conv2d(x, w, bias, stride, kernel / 2); },
            {in, side, side}, type());
    }
}

TEST_P(RowIdentity, AShiftOfItsOwn) {
    const FrozenWeight w = weight({320, 64, 3, 3});
    const at::Tensor bias = random({320}, 5), shift = random({3, 320}, 6);
    const at::Tensor x =
        random({3, 64, 17, 9}, 7).to(type()).contiguous(at::MemoryFormat::ChannelsLast);
    const GroupNormed norm{x, 32, random({64}, 8), random({64}, 9), 1e-5, true};
    const auto part = [](const at::Tensor& whole, std::int64_t row) {
        return whole.slice(0, row, row + 1);
    };
    const at::Tensor together = conv2d(x, w, bias, 1, 1, {.shift = shift});
    const at::Tensor of_norm = conv2d(norm, w, bias, 1, 1, {.shift = shift});
    const at::Tensor one_for_all = conv2d(part(x, 1), w, bias, 1, 1, {.shift = shift});
    for (std::int64_t row = 0; row < 3; ++row) {
        const Finish own{.shift = shift[row]};
        GroupNormed alone = norm;
        alone.x = part(x, row);
        EXPECT_TRUE(same_bits(part(together, row), conv2d(part(x, row), w, bias, 1, 1, own)));
        EXPECT_TRUE(same_bits(part(of_norm, row), conv2d(alone, w, bias, 1, 1, own)));
        EXPECT_TRUE(same_bits(part(one_for_all, row), conv2d(part(x, 1), w, bias, 1, 1, own)));
    }
    EXPECT_THROW(conv2d(x, w, bias, 1, 1, {.shift = random({2, 320}, 1)}), Error);
}

TEST_P(RowIdentity, Attention) {
    for (const auto& [tokens, channels, heads] :
         std::vector<std::array<std::int64_t, 3>>{{1024, 320, 8}, {64, 1280, 8}, {77, 768, 12}}) {
        for (const bool causal : {false, true}) {
            expect_row_identity(
                [&](const at::Tensor& x) { return attention(x, x, x, heads, causal); },
                {tokens, channels}, type());
        }
    }
}

TEST_P(RowIdentity, Norms) {
    const at::Tensor scale = random({320}, 3), shift = random({320}, 4);
    expect_row_identity(
        [&](const at::Tensor& x) {
            return group_norm({x, 32, scale, shift, 1e-5, true});
        },
        {320, 24, 24}, type());
    expect_row_identity([&](const at::Tensor& x) { return layer_norm(x, scale, shift, 1e-5); },
                        {77, 320}, type());
    expect_row_identity([&](const at::Tensor& x) { return geglu(x); }, {77, 640}, type());
    expect_row_identity([&](const at::Tensor& x) { return quick_gelu(x); }, {77, 640}, type());
}

// Ten threads' pieces of three rows do not end where a row does.
TEST(RowIdentityOfFunctions, HoldsForAnyNumberOfThreads) {
    const at::Tensor row = random({1, 77, 3072}, 1), rows = row.expand({3, -1, -1}).contiguous();
    WorkerPool pool(10);
    const UsedPool used(&pool);
    for (const auto function : {quick_gelu, geglu}) {
        const at::Tensor alone = function(row), together = function(rows);
        for (int i = 0; i < 3; ++i) EXPECT_TRUE(same_bits(together.slice(0, i, i + 1), alone));
    }
}

INSTANTIATE_TEST_SUITE_P(Types, RowIdentity,
                         testing::Values(Case{WeightType::dense, ComputeType::float32},
                                         Case{WeightType::int8, ComputeType::float32},
                                         Case{WeightType::int4, ComputeType::float32},
                                         Case{WeightType::dense, ComputeType::bfloat16},
                                         Case{WeightType::int8, ComputeType::bfloat16},
                                         Case{WeightType::int4, ComputeType::bfloat16}));

TEST(Attention, ASingleQueryRowServesAllContexts) {
    const at::Tensor q = random({1, 16, 64}, 1), k = random({3, 77, 64}, 2);
    const at::Tensor shared = attention(q, k, k, 4);
    const at::Tensor repeated = attention(q.expand({3, -1, -1}).contiguous(), k, k, 4);
    EXPECT_TRUE(same_bits(shared, repeated));
}

TEST(Layers, SayWhatDoesNotFit) {
    const FrozenWeight w(random({5, 320}, 1), WeightType::int8, ComputeType::float32, at::kCPU);
    try {
        linear(random({2, 768}, 2), w, {});
        FAIL() << "accepted";
    } catch (const Error& error) {
        EXPECT_STREQ(error.what(), "linear: weight has 320 inputs, activation has 768");
    }
    EXPECT_THROW(attention(random({1, 4, 10}, 1), random({1, 4, 10}, 1), random({1, 4, 10}, 1), 3),
                 Error);
}

TEST(Layers, ANormThatDoesNotFitIsRefusedByTheProductThatMakesIt) {
    const FrozenWeight w(random({64, 48, 3, 3}, 1), WeightType::int8, ComputeType::float32,
                         at::kCPU);
    const at::Tensor x = random({1, 48, 4, 4}, 2), ones = at::ones({48});
    EXPECT_NO_THROW(conv2d(GroupNormed{x, 16, ones, ones}, w, {}, 1, 1));
    EXPECT_THROW(conv2d(GroupNormed{x, 32, ones, ones}, w, {}, 1, 1), Error);
    EXPECT_THROW(conv2d(GroupNormed{x, 16, at::ones({32}), ones}, w, {}, 1, 1), Error);
    EXPECT_THROW(conv2d(GroupNormed{x, 16, ones, at::ones({32})}, w, {}, 1, 1), Error);
}

TEST(Layers, ABiasAShiftOrAResidualThatDoesNotFitIsRefused) {
    const FrozenWeight w(random({64, 48, 3, 3}, 1), WeightType::int8, ComputeType::float32,
                         at::kCPU);
    const at::Tensor x = random({2, 48, 4, 4}, 2), few = at::ones({32});
    EXPECT_NO_THROW(conv2d(x, w, {}, 1, 1, {.residual = random({1, 64, 4, 4}, 3)}));
    EXPECT_THROW(conv2d(x, w, few, 1, 1), Error);
    EXPECT_THROW(conv2d(x, w, {}, 1, 1, {.shift = few}), Error);
    // As many numbers as half of the rows would have.
    EXPECT_THROW(conv2d(x, w, {}, 1, 1, {.residual = random({2, 32, 4, 4}, 3)}), Error);
}

}  // namespace
}  // namespace zoodip
