#include <algorithm>

#include <ATen/ops/empty.h>
#include <ATen/ops/sum.h>

#include "core/error.h"
#include "ops/attention_cpu.h"
#include "ops/attention_tiles.h"
#include "ops/brgemm.h"
#include "ops/parallel.h"

namespace zoodip {
namespace {

using namespace attention_tiles;

constexpr std::int64_t lanes = tile_queries, block_keys = 256;

// With weights p = softmax(scale scores), per query: dv = p^T dy, dp = dy v^T,
// ds = p (dp - sum(dy out)) / sqrt(width), dq = ds k, dk = ds^T q.

// One head: what is given, and the gradients that are wanted of it.
template <class In>
struct Head {
    Matrix<const In> q, k, v, dy, out;
    const float* log2_sum;  // of each query
    Matrix<float> dq, dk, dv;
};

// The keys and values of one head.
struct Keys {
    Buffer<float> k, v;          // [keys, width]
    Buffer<float> k_transposed;  // [width, keys]

    explicit Keys(const Shape& shape)
        : k(shape.keys * shape.width),
          v(shape.keys * shape.width),
          k_transposed(shape.keys * shape.width) {}

    template <class In>
    void hold(const Head<In>& head, const Shape& shape) const {
        const std::int64_t width = shape.width;
        copy_rows<float>(head.k, shape.keys, width, {k.get(), width}, width);
        copy_rows<float>(head.v, shape.keys, width, {v.get(), width}, width);
        transpose({k.get(), width}, shape.keys, width, {k_transposed.get(), shape.keys});
    }
};

// A tile of queries. Those after the last have q = dy = 0, and so ds = 0: they add nothing.
struct Tile {
    Buffer<float> q, dy, work;                          // [64, width]
    Buffer<float> q_transposed, dy_transposed;          // [width, 64]; dy's divided by sqrt(width)
    Buffer<float> dq_transposed;                        // [width, 64]
    Buffer<float> weights, ds;                          // [block_keys, 64]; before: scores and dp
    alignas(64) float log2_sum[lanes], product[lanes];  // product: sum(dy out) / sqrt(width)

    explicit Tile(std::int64_t width)
        : q(lanes * width),
          dy(lanes * width),
          work(lanes * width),
          q_transposed(lanes * width),
          dy_transposed(lanes * width),
          dq_transposed(lanes * width),
          weights(block_keys * lanes),
          ds(block_keys * lanes) {}
};

// product from dy in `dy` and dy out in `work`, and the division of dy_transposed.
void divide(Tile& tile, std::int64_t width) {
    const float factor = static_cast<float>(1 / std::sqrt(static_cast<double>(width)));
    transpose({tile.dy.get(), width}, lanes, width, {tile.dy_transposed.get(), lanes});
    transpose({tile.work.get(), width}, lanes, width, {tile.dq_transposed.get(), lanes});
    float* __restrict dy = tile.dy_transposed.get();
    const float* __restrict terms = tile.dq_transposed.get();
    float* __restrict product = tile.product;
    for_cpu_isa([&] ZOODIP_INLINED {
        for (std::int64_t i = 0; i < lanes; ++i) product[i] = 0;
        for (std::int64_t c = 0; c < width; ++c) {
            for (std::int64_t i = 0; i < lanes; ++i) {
                dy[c * lanes + i] *= factor;
                product[i] += terms[c * lanes + i] * factor;
            }
        }
    });
}

template <class In>
void start(Tile& tile, const Head<In>& head, std::int64_t first, std::int64_t count,
           std::int64_t width) {
    const auto hold = [&](const Matrix<const In>& from, const Buffer<float>& to) {
        copy_rows<float>(Matrix<const In>{from.row(first), from.stride}, count, width,
                         {to.get(), width}, width);
        std::fill(to.get() + count * width, to.get() + lanes * width, 0.0f);
    };
    hold(head.q, tile.q);
    hold(head.dy, tile.dy);
    hold(head.out, tile.work);
    for (std::int64_t i = 0; i < lanes * width; ++i) tile.work.get()[i] *= tile.dy.get()[i];
    transpose({tile.q.get(), width}, lanes, width, {tile.q_transposed.get(), lanes});
    divide(tile, width);
    std::fill_n(tile.log2_sum, lanes, 0.0f);
    std::copy_n(head.log2_sum + first, count, tile.log2_sum);
}

// scores -> weights and dp -> ds, in place.
void differentiate(Tile& tile, std::int64_t keys, const Exponents& exponents) {
    const float scale = exponents.scale, lowest = exponents.lowest;
    float* __restrict weights = tile.weights.get();
    float* __restrict ds = tile.ds.get();
    const float* __restrict log2_sum = tile.log2_sum;
    const float* __restrict product = tile.product;
    for_cpu_isa([&] ZOODIP_INLINED {
        for (std::int64_t key = 0; key < keys; ++key) {
            float* __restrict p = weights + key * lanes;
            float* __restrict d = ds + key * lanes;
            for (std::int64_t i = 0; i < lanes; ++i) {
                p[i] = power_of_two<5>(std::fma(p[i], scale, -log2_sum[i]), lowest);
                d[i] = p[i] * (d[i] - product[i]);
            }
        }
    });
}

// Adds what a tile of queries gives to dk and dv, and makes its dq. `onto`: whether something has
// been added to dk and dv before.
template <class In>
void propagate(Tile& tile, const Keys& keys, const Head<In>& head, const Shape& shape, bool onto) {
    const std::int64_t width = shape.width;
    for (std::int64_t key = 0; key < shape.keys; key += block_keys) {
        const std::int64_t count = std::min(block_keys, shape.keys - key);
        const BrgemmShape to_scores{count, lanes, width, width, lanes, lanes};
        brgemm(to_scores, keys.k.get() + key * width, tile.q_transposed.get(), tile.weights.get());
        brgemm(to_scores, keys.v.get() + key * width, tile.dy_transposed.get(), tile.ds.get());
        differentiate(tile, count, exponents_of(shape));
        const BrgemmShape to_keys{count, width, lanes, lanes, width, head.dk.stride, onto};
        brgemm(to_keys, tile.weights.get(), tile.dy.get(), head.dv.row(key));
        brgemm(to_keys, tile.ds.get(), tile.q.get(), head.dk.row(key));
        brgemm({width, lanes, count, shape.keys, lanes, lanes, key > 0},
               keys.k_transposed.get() + key, tile.ds.get(), tile.dq_transposed.get());
    }
}

template <class In>
void differentiate_head(const Head<In>& head, const Shape& shape, const Keys& keys, Tile& tile) {
    keys.hold(head, shape);
    for (std::int64_t first = 0; first < shape.queries; first += lanes) {
        const std::int64_t count = std::min(lanes, shape.queries - first);
        start(tile, head, first, count, shape.width);
        propagate(tile, keys, head, shape, first > 0);
        transpose({tile.dq_transposed.get(), lanes}, shape.width, count,
                  {head.dq.row(first), head.dq.stride});
    }
}

// A gradient [rows, ...] of an operand: summed over the rows that a single one serves, in its type.
at::Tensor gradient_for(const at::Tensor& operand, const at::Tensor& gradient) {
    const bool shared = operand.size(0) < gradient.size(0);
    return (shared ? gradient.sum(0, /*keepdim=*/true) : gradient).to(operand.scalar_type());
}

template <class In>
AttentionGradient run(const at::Tensor& dy, const at::Tensor& q, const at::Tensor& k,
                      const at::Tensor& v, const Shape& shape, const Attention& forward) {
    const auto options = q.options().dtype(at::kFloat);
    const std::int64_t channels = shape.heads * shape.width;
    const at::Tensor dq = at::empty({shape.rows, shape.queries, channels}, options);
    const at::Tensor dk = at::empty({shape.rows, shape.keys, channels}, options);
    const at::Tensor dv = at::empty({shape.rows, shape.keys, channels}, options);
    const auto work = [&](std::int64_t begin, std::int64_t end) {
        const BrgemmScope scope;
        const Keys keys(shape);
        Tile tile(shape.width);
        for (std::int64_t i = begin; i < end; ++i) {
            const auto given = [&](const at::Tensor& x) {
                return head_of<const In>(x, i / shape.heads, i % shape.heads, shape.width);
            };
            const auto wanted = [&](const at::Tensor& x) {
                return head_of<float>(x, i / shape.heads, i % shape.heads, shape.width);
            };
            const float* log2_sum =
                forward.log2_sum_exp2.const_data_ptr<float>() + i * shape.queries;
            differentiate_head<In>({given(q), given(k), given(v), given(dy), given(forward.out),
                                    log2_sum, wanted(dq), wanted(dk), wanted(dv)},
                                   shape, keys, tile);
        }
    };
    parallel_ranges(shape.rows * shape.heads, 1, work);
    return {gradient_for(q, dq), gradient_for(k, dk), gradient_for(v, dv)};
}

}  // namespace

AttentionGradient attention_cpu_backward(const at::Tensor& dy, const at::Tensor& q,
                                         const at::Tensor& k, const at::Tensor& v,
                                         std::int64_t heads, const Attention& forward) {
    const Shape shape = shape_of(q, k, v, heads);
    const at::Tensor ordered = dy.to(q.scalar_type()).contiguous();
    return q.scalar_type() == at::kFloat ? run<float>(ordered, q, k, v, shape, forward)
                                         : run<at::BFloat16>(ordered, q, k, v, shape, forward);
}

}  // namespace zoodip
