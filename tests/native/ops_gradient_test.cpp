// The gradient of every operation, against torch's autograd through the same formula in double.
#include <functional>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/function.h>

#include "core/cancel.h"
#include "ops/attention_cpu.h"
#include "ops/gradient.h"
#include "ops/layers.h"

namespace zoodip {
namespace {

using Op = std::function<at::Tensor(const at::Tensor&)>;

at::Tensor random(at::IntArrayRef sizes, std::uint64_t seed) {
    return at::randn(sizes, at::detail::createCPUGenerator(seed));
}

at::Tensor channels_last(const at::Tensor& x) {
    return x.contiguous(at::MemoryFormat::ChannelsLast);
}

// dL/dx of a row is the same beside other rows: words that are learned together are those that they
// would be alone.
void expect_rows_apart(const char* name, const Op& op, const at::Tensor& x) {
    const at::AutoGradMode recording(true);
    const auto gradient = [&](const at::Tensor& at, const at::Tensor& dy) {
        const at::Tensor leaf = at.detach().set_requires_grad(true);
        return gradient_of((op(leaf) * dy).sum(), leaf);
    };
    const at::Tensor dy = random(op(x).sizes(), 78).to(op(x).scalar_type());
    const at::Tensor all = gradient(x, dy);
    for (std::int64_t row = 0; row < x.size(0); ++row) {
        EXPECT_TRUE(all.narrow(0, row, 1).equal(
            gradient(x.narrow(0, row, 1).clone(), dy.narrow(0, row, 1))))
            << name << " row " << row;
    }
}

// d(sum of weights y)/dx, with weights that depend on y's shape alone.
at::Tensor gradient_at(const Op& op, const at::Tensor& x) {
    const at::AutoGradMode recording(true);
    const at::Tensor leaf = x.detach().set_requires_grad(true);
    const at::Tensor y = op(leaf);
    return gradient_of((y * random(y.sizes(), 77).to(y.scalar_type())).sum(), leaf);
}

// A sum of up to 3000 float32 products of random signs is off by sqrt(3000) 2^-24 = 3e-6 of its
// scale; some tens of them are in a row here at most.
void expect_gradient(const Op& op, const Op& plain, const at::Tensor& x) {
    const at::Tensor ours = gradient_at(op, x), exact = gradient_at(plain, x.to(at::kDouble));
    EXPECT_EQ(ours.scalar_type(), x.scalar_type());
    EXPECT_EQ(ours.sizes(), x.sizes());
    EXPECT_LT((ours - exact).norm().item<double>(), 2e-5 * exact.norm().item<double>());
}

class FrozenGradient : public testing::TestWithParam<WeightType> {
  protected:
    FrozenWeight weight(at::IntArrayRef sizes) const {
        return {random(sizes, 99), GetParam(), ComputeType::float32, at::kCPU};
    }
};

TEST_P(FrozenGradient, Linear) {
    const FrozenWeight w = weight({129, 63});
    const at::Tensor bias = random({129}, 5), dense = w.dense(at::kFloat).to(at::kDouble);
    const at::Tensor exact_bias = bias.to(at::kDouble);
    expect_gradient([&](const at::Tensor& x) { return linear(x, w, bias); },
                    [&](const at::Tensor& x) { return at::linear(x, dense, exact_bias); },
                    random({2, 33, 63}, 1));
    const auto pointwise = [](const at::Tensor& x) { return x.permute({0, 2, 3, 1}); };
    expect_gradient([&](const at::Tensor& x) { return linear(pointwise(x), w, {}); },
                    [&](const at::Tensor& x) { return at::linear(pointwise(x), dense); },
                    channels_last(random({2, 63, 5, 7}, 2)));
}

TEST_P(FrozenGradient, Conv2d) {
    for (const auto& [in, out, height, width, stride] : std::vector<std::array<std::int64_t, 5>>{
             {33, 17, 9, 12, 1}, {32, 32, 8, 8, 2}, {32, 48, 9, 7, 2}, {4, 32, 16, 16, 1}}) {
        const FrozenWeight w = weight({out, in, 3, 3});
        const at::Tensor bias = random({out}, 5), dense = w.dense(at::kFloat).to(at::kDouble);
        expect_gradient([&](const at::Tensor& x) { return conv2d(x, w, bias, stride, 1); },
                        [&](const at::Tensor& x) { return at::conv2d(x, dense, {}, stride, 1); },
                        channels_last(random({2, in, height, width}, 3)));
    }
}

TEST_P(FrozenGradient, RowsAreApart) {
    const FrozenWeight w = weight({96, 64}), image = weight({48, 64, 3, 3});
    const at::Tensor bias = random({96}, 5), x = channels_last(random({3, 64, 8, 8}, 3));
    expect_rows_apart(
        "linear", [&](const at::Tensor& t) { return linear(t, w, bias); }, random({3, 33, 64}, 1));
    expect_rows_apart(
        "linear", [&](const at::Tensor& t) { return linear(t, w, bias); }, random({3, 64}, 1));
    for (const int stride : {1, 2}) {
        expect_rows_apart(
            "conv2d", [&](const at::Tensor& t) { return conv2d(t, image, {}, stride, 1); }, x);
    }
}

TEST(Gradient, RowsAreApart) {
    const at::Tensor weight = random({64}, 3), bias = random({64}, 4), x = random({3, 77, 64}, 1);
    const at::Tensor image = channels_last(random({3, 64, 8, 8}, 2));
    for (const bool silu : {false, true}) {
        expect_rows_apart(
            "group_norm",
            [&](const at::Tensor& t) {
                return group_norm({t, 8, weight, bias, 1e-5, silu});
            },
            image);
    }
    expect_rows_apart(
        "layer_norm", [&](const at::Tensor& t) { return layer_norm(t, weight, bias, 1e-5); }, x);
    expect_rows_apart("geglu", geglu, x);
    expect_rows_apart(
        "gelu", [](const at::Tensor& t) { return zoodip::gelu(t); }, x);
    expect_rows_apart("quick_gelu", quick_gelu, x);
    for (const bool causal : {false, true}) {
        expect_rows_apart(
            "attention",
            [&](const at::Tensor& t) { return attention(t, t * 0.5, t * 0.25, 4, causal); }, x);
    }
}

INSTANTIATE_TEST_SUITE_P(Types, FrozenGradient,
                         testing::Values(WeightType::dense, WeightType::int8, WeightType::int4));

TEST_P(FrozenGradient, ShiftsOfRows) {
    // Of one row for all, of a row each, and of a row each where the activation has a single one.
    const FrozenWeight w = weight({63, 33, 3, 3});
    const at::Tensor bias = random({63}, 5), dense = w.dense(at::kFloat).to(at::kDouble);
    for (const auto& [rows, shifts] : {std::pair(3, 1), std::pair(3, 3), std::pair(1, 3)}) {
        const at::Tensor x = channels_last(random({rows, 33, 7, 5}, 1));
        const at::Tensor many = x.expand({std::max(rows, shifts), -1, -1, -1}).to(at::kDouble);
        expect_gradient(
            [&](const at::Tensor& shift) {
                return conv2d(x, w, bias, 1, 1, {.shift = shifts == 1 ? shift.squeeze(0) : shift});
            },
            [&](const at::Tensor& shift) {
                return at::conv2d(many, dense, bias.to(at::kDouble), 1, 1) +
                       shift.unsqueeze(-1).unsqueeze(-1);
            },
            random({shifts, 63}, 2));
    }
}

TEST(Gradient, GroupNorm) {
    const at::Tensor weight = random({64}, 3), bias = random({64}, 4);
    const at::Tensor exact_weight = weight.to(at::kDouble), exact_bias = bias.to(at::kDouble);
    for (const bool silu : {false, true}) {
        for (const double mean : {0.0, 3.0}) {
            expect_gradient(
                [&](const at::Tensor& x) {
                    return group_norm({x, 8, weight, bias, 1e-5, silu});
                },
                [&](const at::Tensor& x) {
                    const auto y = at::group_norm(x, 8, exact_weight, exact_bias, 1e-5);
                    return silu ? at::silu(y) : y;
                },
                channels_last(random({2, 64, 6, 5}, 1) + mean));
        }
    }
}

TEST(Gradient, NormsAndActivations) {
    const at::Tensor weight = random({64}, 3), bias = random({64}, 4), x = random({2, 9, 64}, 1);
    const at::Tensor exact_weight = weight.to(at::kDouble), exact_bias = bias.to(at::kDouble);
    expect_gradient([&](const at::Tensor& t) { return layer_norm(t, weight, bias, 1e-5); },
                    [&](const at::Tensor& t) {
                        return at::layer_norm(t, {64}, exact_weight, exact_bias, 1e-5);
                    },
                    x);
    expect_gradient(
        geglu,
        [](const at::Tensor& t) {
            const auto halves = t.chunk(2, -1);
            return halves[0] * at::gelu(halves[1]);
        },
        x);
    expect_gradient([](const at::Tensor& t) { return zoodip::gelu(t); },
                    [](const at::Tensor& t) { return at::gelu(t); }, x);
    expect_gradient(
        quick_gelu, [](const at::Tensor& t) { return t * at::sigmoid(1.702 * t); }, x);
}

// softmax(q k^T / sqrt(width)) v with the score matrix written out.
at::Tensor plain_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           std::int64_t heads, bool causal) {
    const auto split = [&](const at::Tensor& x) {
        return x.view({x.size(0), x.size(1), heads, -1}).transpose(1, 2);
    };
    at::Tensor scores = at::matmul(split(q), split(k).transpose(2, 3)) /
                        std::sqrt(static_cast<double>(q.size(2) / heads));
    if (causal) {
        const at::Tensor later = at::ones({q.size(1), k.size(1)}, at::kBool).triu(1);
        scores = scores.masked_fill(later, -std::numeric_limits<double>::infinity());
    }
    const at::Tensor out = at::matmul(scores.softmax(-1), split(v)).transpose(1, 2);
    return out.reshape({out.size(0), q.size(1), q.size(2)});
}

TEST(Gradient, AttentionInEveryOperandAndWithASharedRow) {
    const at::Tensor x = random({1, 40, 64}, 1), keys = random({3, 77, 64}, 2);
    using Attend =
        std::function<at::Tensor(const at::Tensor&, const at::Tensor&, const at::Tensor&, bool)>;
    const auto of = [&](const Attend& attend, int operand, bool causal) -> Op {
        return [=](const at::Tensor& t) {
            const at::Tensor k = causal ? x : keys;
            const auto as = [&](const at::Tensor& other) { return other.to(t.scalar_type()); };
            return operand == 0   ? attend(t, as(k), as(k), causal)
                   : operand == 1 ? attend(as(x), t, as(k), causal)
                                  : attend(as(x), as(k), t, causal);
        };
    };
    const Attend ours = [](const auto& q, const auto& k, const auto& v, bool causal) {
        return attention(q, k, v, 4, causal);
    };
    const Attend plain = [](const auto& q, const auto& k, const auto& v, bool causal) {
        return plain_attention(q, k, v, 4, causal);
    };
    for (const bool causal : {false, true}) {
        for (const int operand : {0, 1, 2}) {
            expect_gradient(of(ours, operand, causal), of(plain, operand, causal),
                            operand == 0 || causal ? x : keys);
        }
    }
}

// What a graph was made by: our own kernel, or the torch operator that keeps q, k, v and one number
// a row; the one that forms the score matrix has another name.
TEST(Gradient, AttentionKeepsNoScores) {
    const at::AutoGradMode recording(true);
    for (const auto type : {at::kFloat, at::kBFloat16}) {
        const at::Tensor q = random({1, 64, 320}, 1).to(type).set_requires_grad(true);
        const at::Tensor k = random({1, 77, 320}, 2).to(type);
        for (const auto& [keys, causal] : {std::pair{k, false}, std::pair{q, true}}) {
            std::string names;
            for (auto node = attention(q, keys, keys, 8, causal).grad_fn();
                 node && node->num_outputs() > 0; node = node->next_edge(0).function) {
                names += node->name() + " ";
            }
            const bool own = !causal && has_attention_cpu(type);
            EXPECT_NE(names.find(own ? "zoodip::BackwardNode" : "FlashAttention"),
                      std::string::npos)
                << names;
        }
    }
}

TEST(Gradient, WithoutATrackedInputThereIsNoGraph) {
    const FrozenWeight w(random({8, 8}, 1), WeightType::int8, ComputeType::float32, at::kCPU);
    const at::Tensor x = random({2, 8}, 2), leaf = random({2, 8}, 2).set_requires_grad(true);
    const auto step = [&](const Tensors& in) { return linear(in[0], w, {}); };
    {
        const at::AutoGradMode recording(true);
        EXPECT_FALSE(linear(x, w, {}).requires_grad());
        EXPECT_FALSE(recomputed(step, {x}).requires_grad());
        EXPECT_TRUE(recomputed(step, {leaf}).requires_grad());
    }
    const at::NoGradGuard no_graph;
    EXPECT_FALSE(linear(leaf, w, {}).requires_grad());
    EXPECT_FALSE(recomputed(step, {leaf}).requires_grad());
}

TEST(Recomputed, RunsAgainForItsGradientAndGivesTheSame) {
    const at::AutoGradMode recording(true);
    int runs = 0;
    const auto step = [&](const Tensors& in) {
        ++runs;
        return in[0] * in[1].sin();
    };
    const at::Tensor x = random({5}, 1).set_requires_grad(true);
    const at::Tensor constant = random({5}, 2);
    at::Tensor y = recomputed(step, {x, x.cos()});
    y = recomputed(step, {y, constant});
    EXPECT_EQ(runs, 2);
    const at::Tensor gradient = gradient_of(y.sum(), x);
    EXPECT_EQ(runs, 4);
    const at::Tensor expected = gradient_of((x * x.cos().sin() * constant.sin()).sum(), x);
    EXPECT_TRUE(at::allclose(gradient, expected, 1e-6));
}

TEST(Recomputed, WhatItThrowsOnTheWayBackComesOut) {
    const at::AutoGradMode recording(true);
    const CancelToken token;
    std::vector<int> ran;
    const auto step = [&](int number) {
        return [&, number](const Tensors& in) {
            token.check();
            ran.push_back(number);
            if (ran.size() == 4) token.cancel();
            return in[0].sin();
        };
    };
    const at::Tensor x = random({5}, 1).set_requires_grad(true);
    at::Tensor y = x;
    for (const int number : {1, 2, 3}) y = recomputed(step(number), {y});
    EXPECT_THROW(gradient_of(y.sum(), x), Cancelled);
    EXPECT_EQ(ran, (std::vector<int>{1, 2, 3, 3}));
}

}  // namespace
}  // namespace zoodip
