// The CPU kernel of attention against the formula in double, on every instruction set.
#include <cmath>
#include <limits>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/worker_pool.h"
#include "ops/attention_cpu.h"
#include "ops/attention_tiles.h"
#include "ops/cpu_isa.h"
#include "ops/vector_math.h"

namespace zoodip {
namespace {

constexpr double u = 0x1p-24;          // the unit roundoff of float32
constexpr double u_bfloat16 = 0x1p-8;  // and of bfloat16
constexpr double ln2 = 0.6931471805599453, log2_e = 1 / ln2;

at::Tensor random(at::IntArrayRef sizes, std::uint64_t seed) {
    return at::randn(sizes, at::detail::createCPUGenerator(seed));
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
    return at::equal(a.contiguous().view(at::kByte), b.contiguous().view(at::kByte));
}

struct Inputs {
    at::Tensor q, k, v, dy;
    std::int64_t heads;

    Attention attend() const { return attention_cpu(q, k, v, heads, true); }
    AttentionGradient gradient() const {
        return attention_cpu_backward(dy, q, k, v, heads, attend());
    }
};

struct Sizes {
    std::int64_t rows, queries, keys, width;
    std::int64_t q_rows = 0, kv_rows = 0;  // as many as there are rows
};

constexpr std::int64_t heads = 2;

Inputs make_inputs(const Sizes& sizes, at::ScalarType type, double scale = 1) {
    const std::int64_t channels = heads * sizes.width;
    const std::int64_t q_rows = sizes.q_rows ? sizes.q_rows : sizes.rows;
    const std::int64_t kv_rows = sizes.kv_rows ? sizes.kv_rows : sizes.rows;
    return {(random({q_rows, sizes.queries, channels}, 1) * scale).to(type),
            random({kv_rows, sizes.keys, channels}, 2).to(type),
            random({kv_rows, sizes.keys, channels}, 3).to(type),
            random({sizes.rows, sizes.queries, channels}, 4).to(type), heads};
}

// [rows, tokens, channels] -> double [rows, heads, tokens, width].
at::Tensor split(const at::Tensor& x) {
    return x.to(at::kDouble).view({x.size(0), x.size(1), heads, -1}).transpose(1, 2);
}

at::Tensor joined(const at::Tensor& x) {
    return x.transpose(1, 2).reshape({x.size(0), x.size(2), -1});
}

// In double, all [rows or 1, heads, tokens, ...]: what the kernel computes and the most by which it
// may be off.
struct Exact {
    at::Tensor q, k, v, weights, out;
    at::Tensor weight_error;  // relative, [rows, heads, queries, 1]
    at::Tensor out_error;
};

// A score is a sum of `width` products, off by width u sum|q||k|; times a rounded scale, minus an
// offset that all weights of a query share, with two roundings of what is at most twice as large:
// the exponent of 2 is off by (width + 6) u a, a = max over the keys of scale sum|q||k|. The
// polynomial is off by `polynomial`; each of the blocks of keys (256 or 1024) may rescale what came
// before, by a power of two that is off by 2.4e-7, with an exponent off by 2 u a. A weight is thus
// off by the factor 1 +- r, and so is the sum that it is divided by. A sum of `keys` terms adds
// keys u, the weight's own rounding to bfloat16 u_bfloat16.
Exact exact(const Inputs& in) {
    const bool rounded = in.q.scalar_type() == at::kBFloat16;
    Exact e{split(in.q), split(in.k), split(in.v), {}, {}, {}, {}};
    const double width = static_cast<double>(e.q.size(3)), keys = static_cast<double>(e.k.size(2));
    const double blocks = std::ceil(keys / 256), polynomial = rounded ? 8e-5 : 2.4e-7;
    e.weights = (at::matmul(e.q, e.k.transpose(2, 3)) / std::sqrt(width)).softmax(-1);
    e.out = at::matmul(e.weights, e.v);
    const at::Tensor a = at::matmul(e.q.abs(), e.k.abs().transpose(2, 3)).amax(-1, true) *
                         (log2_e / std::sqrt(width));
    const at::Tensor exponent = a * ((width + 6 + 2 * blocks) * u);
    e.weight_error = (exponent * ln2).expm1() + polynomial + blocks * (2.4e-7 + 2 * u);
    const at::Tensor relative =
        2 * e.weight_error + (rounded ? u_bfloat16 : 0) + (2 * keys + 8) * u;
    e.out_error =
        relative * at::matmul(e.weights, e.v.abs()) + (rounded ? u_bfloat16 : u) * e.out.abs();
    return e;
}

// A number that nothing is added to in the bound may be flushed to zero below float32's range.
void expect_within(const at::Tensor& ours, const at::Tensor& expected, const at::Tensor& error) {
    const at::Tensor off = (ours.to(at::kDouble) - expected).abs() / (error * 1.01 + 1e-37);
    EXPECT_EQ(ours.sizes(), expected.sizes());
    EXPECT_LE(off.max().item<double>(), 1);
}

void expect_forward(const Inputs& in) {
    const Exact e = exact(in);
    const at::Tensor out = in.attend().out;
    EXPECT_EQ(out.scalar_type(), in.q.scalar_type());
    EXPECT_TRUE(out.is_contiguous());
    expect_within(out, joined(e.out), joined(e.out_error));
}

// Sums over the rows that a single row serves.
at::Tensor shared(const at::Tensor& gradient, const at::Tensor& operand) {
    const bool sum = operand.size(0) < gradient.size(0);
    return joined(sum ? gradient.sum(0, true) : gradient);
}

// With p a weight and r its relative error, which is here that of an exponent less a rounded
// logarithm and so larger by u (a + log2 keys) than above, twice at most: dv = p^T dy is off by
// (r + queries u) p^T |dy|; dp by width u |dy| |v|^T; the product that is taken from it,
// sum(dy out), by width u sum|dy||out| and by the error of out; ds = p (dp - product) by r |ds|
// and p times what those two are off by; dq and dk by that times |k| or |q|, and by the rounding of
// their sums. The single row's sum over rows is one of float32 numbers.
void expect_backward(const Inputs& in) {
    const Exact e = exact(in);
    const double unit = in.q.scalar_type() == at::kBFloat16 ? u_bfloat16 : u;
    const double width = static_cast<double>(e.q.size(3)), root = std::sqrt(width);
    const double queries = static_cast<double>(e.q.size(2)),
                 keys = static_cast<double>(e.k.size(2));
    const at::Tensor dy = split(in.dy), p = e.weights;
    const at::Tensor product = (dy * e.out).sum(-1, true);
    const at::Tensor ds = p * (at::matmul(dy, e.v.transpose(2, 3)) - product) / root;
    const at::Tensor r = 3 * e.weight_error + (keys + 8 + 2 * std::log2(keys)) * u;
    const at::Tensor dp_error = (width + 8) * u * at::matmul(dy.abs(), e.v.abs().transpose(2, 3));
    const at::Tensor product_error =
        (dy.abs() * (e.out_error + (width + 8) * u * e.out.abs())).sum(-1, true);
    const at::Tensor ds_error = r * ds.abs() + (1 + r) * p * (dp_error + product_error) / root;
    const auto check = [&](const at::Tensor& ours, const at::Tensor& operand,
                           const at::Tensor& expected, const at::Tensor& error,
                           const at::Tensor& terms, double count) {
        EXPECT_EQ(ours.scalar_type(), operand.scalar_type());
        const at::Tensor sums = (count + 8) * u * terms + 2 * unit * expected.abs();
        expect_within(ours, shared(expected, operand),
                      shared(error + sums, operand) + unit * shared(expected, operand).abs());
    };
    const AttentionGradient ours = in.gradient();
    const auto over_queries = [](const at::Tensor& x) { return x.transpose(2, 3); };
    check(ours.dq, in.q, at::matmul(ds, e.k), at::matmul(ds_error, e.k.abs()),
          at::matmul(ds.abs(), e.k.abs()), keys);
    check(ours.dk, in.k, at::matmul(over_queries(ds), e.q),
          at::matmul(over_queries(ds_error), e.q.abs()),
          at::matmul(over_queries(ds.abs()), e.q.abs()), queries);
    check(ours.dv, in.v, at::matmul(over_queries(p), dy), at::matmul(over_queries(r * p), dy.abs()),
          at::matmul(over_queries(p), dy.abs()), queries);
}

class AttentionCpu : public testing::TestWithParam<at::ScalarType> {
  protected:
    void SetUp() override {
        if (!has_attention_cpu(GetParam())) {
            GTEST_SKIP() << "no products of small float32 matrices on this processor";
        }
    }
};

TEST_P(AttentionCpu, IsTheFormula) {
    for (const std::int64_t width : {1, 7, 40, 64, 80, 160}) {
        for (const std::int64_t keys : {1, 5, 77, 256, 300}) {
            for (const std::int64_t queries : {1, 9, 64, 130}) {
                SCOPED_TRACE(testing::Message()
                             << "width " << width << ", keys " << keys << ", queries " << queries);
                expect_forward(make_inputs({2, queries, keys, width}, GetParam()));
            }
        }
    }
    expect_forward(make_inputs({1, 70, 2500, 40}, GetParam()));
}

TEST_P(AttentionCpu, GradientIsTheFormulas) {
    for (const std::int64_t width : {1, 7, 40, 160}) {
        for (const std::int64_t keys : {1, 77, 300}) {
            for (const std::int64_t queries : {1, 130}) {
                SCOPED_TRACE(testing::Message()
                             << "width " << width << ", keys " << keys << ", queries " << queries);
                expect_backward(make_inputs({2, queries, keys, width}, GetParam()));
            }
        }
    }
}

TEST_P(AttentionCpu, ASingleRowServesAll) {
    for (const Sizes& sizes : {Sizes{3, 70, 77, 40, 1, 3}, Sizes{3, 70, 77, 40, 3, 1}}) {
        const Inputs in = make_inputs(sizes, GetParam());
        expect_forward(in);
        expect_backward(in);
        Inputs repeated = in;
        for (at::Tensor* x : {&repeated.q, &repeated.k, &repeated.v}) {
            *x = x->expand({3, -1, -1}).contiguous();
        }
        EXPECT_TRUE(same_bits(in.attend().out, repeated.attend().out));
    }
}

// Beside scores of 10000, weights are exactly 0 and 1; the largest comes last, so that each block
// of keys rescales what came before, or first.
TEST_P(AttentionCpu, LargeScoresNeitherOverflowNorVanish) {
    const std::int64_t keys = 2200, width = 40;
    for (const double slope : {1.0, -1.0}) {
        const at::Tensor q = at::full({1, 3, heads * width}, 100).to(GetParam());
        const at::Tensor ramp = at::linspace(-1, 1, keys).mul(slope * 16).view({1, keys, 1});
        const at::Tensor k = ramp.expand({1, keys, heads * width}).contiguous().to(GetParam());
        const at::Tensor v = random({1, keys, heads * width}, 5).to(GetParam());
        expect_forward({q, k, v, {}, heads});
    }
    expect_forward(make_inputs({1, 9, 300, 40}, GetParam(), 1e-6));
    expect_forward(make_inputs({1, 9, 300, 40}, GetParam(), 1000));
}

TEST_P(AttentionCpu, NaNStaysWhereItBelongs) {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    const Inputs in = make_inputs({2, 70, 300, 40}, GetParam());
    const at::Tensor before = in.attend().out;
    for (const float sign : {1.0f, -1.0f}) {
        Inputs wrong = in;
        wrong.q = in.q.clone();
        wrong.q[1][66][3] = std::copysign(static_cast<float>(nan), sign);  // of the first head
        const at::Tensor out = wrong.attend().out;
        EXPECT_TRUE(out[1][66].slice(0, 0, 40).isnan().all().item<bool>());
        at::Tensor mended = out.clone();
        mended[1][66].slice(0, 0, 40).copy_(before[1][66].slice(0, 0, 40));
        EXPECT_TRUE(same_bits(mended, before));

        wrong = in;
        wrong.k = in.k.clone();
        wrong.k[0][257][41] = std::copysign(static_cast<float>(nan), sign);  // of the second head
        const at::Tensor of_key = wrong.attend().out;
        EXPECT_TRUE(of_key[0].slice(1, 40).isnan().all().item<bool>());
        EXPECT_TRUE(same_bits(of_key[1], before[1]));
        EXPECT_TRUE(same_bits(of_key[0].slice(1, 0, 40), before[0].slice(1, 0, 40)));
    }
}

// What is added to an odd number of keys must not make 0 times infinity of it.
TEST_P(AttentionCpu, AnInfiniteValueStaysInfinite) {
    const Inputs in = make_inputs({1, 9, 77, 40}, GetParam());
    in.v[0][76][3] = std::numeric_limits<float>::infinity();
    const at::Tensor out = in.attend().out;
    EXPECT_TRUE(out.select(2, 3).eq(std::numeric_limits<double>::infinity()).all().item<bool>());
    EXPECT_TRUE(out.slice(2, 4).isfinite().all().item<bool>());
}

TEST_P(AttentionCpu, EveryInstructionSetGivesTheSameBits) {
    for (const Sizes& sizes : {Sizes{2, 70, 77, 40}, Sizes{1, 130, 1500, 7}}) {
        const Inputs in = make_inputs(sizes, GetParam());
        const Attention forward = in.attend();
        const AttentionGradient gradient = in.gradient();
        for (const CpuIsa isa : cpu_isas()) {
            SCOPED_TRACE(name_of(isa));
            const ForcedCpuIsa forced(isa);
            const Attention again = in.attend();
            EXPECT_TRUE(same_bits(again.out, forward.out));
            EXPECT_TRUE(same_bits(again.log2_sum_exp2, forward.log2_sum_exp2));
            const AttentionGradient twice = in.gradient();
            EXPECT_TRUE(same_bits(twice.dq, gradient.dq));
            EXPECT_TRUE(same_bits(twice.dk, gradient.dk));
            EXPECT_TRUE(same_bits(twice.dv, gradient.dv));
        }
    }
}

TEST_P(AttentionCpu, ARowAloneHasTheBitsItHasAmongOthersOnAnyNumberOfThreads) {
    const Inputs in = make_inputs({3, 130, 300, 40}, GetParam());
    const at::Tensor out = in.attend().out;
    const AttentionGradient gradient = in.gradient();
    for (const int number : {1, 2, 5}) {
        WorkerPool pool(number);
        const UsedPool used(&pool);
        for (std::int64_t row = 0; row < 3; ++row) {
            const auto alone = [&](const at::Tensor& x) { return x.slice(0, row, row + 1); };
            const Inputs single{alone(in.q), alone(in.k), alone(in.v), alone(in.dy), heads};
            EXPECT_TRUE(same_bits(single.attend().out, alone(out)));
            EXPECT_TRUE(same_bits(single.gradient().dk, alone(gradient.dk)));
        }
        EXPECT_TRUE(same_bits(in.attend().out, out));
    }
}

TEST_P(AttentionCpu, TakesAnyStrideOfRowsAndTokens) {
    const Inputs in = make_inputs({2, 9, 77, 40}, GetParam());
    const auto apart = [](const at::Tensor& x) {
        at::Tensor wide = at::zeros({x.size(1), x.size(0), 3, x.size(2)}, x.options());
        wide.select(2, 1).copy_(x.transpose(0, 1));
        return wide.select(2, 1).transpose(0, 1);
    };
    const Inputs strided{apart(in.q), apart(in.k), apart(in.v), apart(in.dy), heads};
    EXPECT_TRUE(same_bits(strided.attend().out, in.attend().out));
    EXPECT_TRUE(same_bits(strided.gradient().dk, in.gradient().dk));
}

INSTANTIATE_TEST_SUITE_P(Types, AttentionCpu, testing::Values(at::kFloat, at::kBFloat16));

template <int degree>
double largest_error() {
    double largest = 0;
    for (int i = 0; i <= 1'000'000; ++i) {
        const float t = -126 * (static_cast<float>(i) * 1e-6f);
        const double expected = std::exp2(static_cast<double>(t));
        largest = std::max(largest, std::abs(power_of_two<degree>(t) / expected - 1));
    }
    return largest;
}

TEST(PowerOfTwo, IsWithinItsBoundAndZeroBelow) {
    EXPECT_LT(largest_error<5>(), 2.4e-7);
    EXPECT_LT(largest_error<3>(), 8e-5);
    const float infinity = std::numeric_limits<float>::infinity();
    for (const float t : {-126.6f, -127.0f, -1e4f, -3e38f, -infinity}) {
        EXPECT_EQ(power_of_two<5>(t), 0) << t;
        EXPECT_EQ(power_of_two<3>(t), 0) << t;
    }
    EXPECT_TRUE(std::isnan(power_of_two<5>(std::numeric_limits<float>::quiet_NaN())));
    EXPECT_TRUE(std::isnan(power_of_two<3>(-std::numeric_limits<float>::quiet_NaN())));
}

TEST(AttentionCpuErrors, SayWhatIsNeeded) {
    if (!has_attention_cpu(at::kFloat)) GTEST_SKIP() << "no kernel on this processor";
    const auto message = [](const at::Tensor& q, const at::Tensor& k) -> std::string {
        try {
            attention_cpu(q, k, k, 2);
        } catch (const Error& error) {
            return error.what();
        }
        return "accepted";
    };
    const at::Tensor q = random({2, 4, 8}, 1);
    EXPECT_EQ(message(q, random({3, 4, 8}, 1)), "attention: needs 3 rows or 1, got 2");
    EXPECT_EQ(message(q, random({2, 4, 6}, 1)),
              "attention: needs channels divisible by 2 and the same of each, got 8, 6 and 6");
    EXPECT_EQ(message(q, q.to(at::kBFloat16)), "attention: needs one type, got Float and BFloat16");
    EXPECT_EQ(message(random({2, 8, 4}, 1).transpose(1, 2), q),
              "attention: needs channels one after the other, got a stride of 4");
    EXPECT_EQ(message(q.to(at::kDouble), q.to(at::kDouble)),
              "attention: needs float32 or bfloat16 and AVX2, got Double");
}

}  // namespace
}  // namespace zoodip
