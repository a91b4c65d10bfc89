#include "ops/attention_cpu.h"

#include <algorithm>
#include <limits>

#include <ATen/ops/empty.h>

#include "core/error.h"
#include "ops/attention_tiles.h"
#include "ops/brgemm.h"
#include "ops/parallel.h"

namespace zoodip {
namespace {

using namespace attention_tiles;

constexpr std::int64_t lanes = tile_queries;

// What differs between products of float32 and of bfloat16. A float32 block of scores (64 KB) and
// its keys stay in the second cache of any processor; a processor with AMX has 2 MB of it, and
// loses a microsecond at every change from one product's tiles to the other's.
template <class Number>
struct Product {
    static constexpr bool paired = false;  // the right operand's rows are interleaved in pairs
    static constexpr std::int64_t block_keys = 256;
    static constexpr std::int64_t inner_step = 1;  // the inner dimension is a multiple of this
    static constexpr std::int64_t outer_step = 1;  // the best numbers of rows are multiples of this
};
template <>
struct Product<at::BFloat16> {
    static constexpr bool paired = true;
    static constexpr std::int64_t block_keys = 1024;
    static constexpr std::int64_t inner_step = 32;
    static constexpr std::int64_t outer_step = 16;
};

// The keys and values of one head in the order in which the products read them. k: [keys,
// inner_width]; v: for each block of keys its transpose, [v_rows, v_stride]. All that is added to
// come to a multiple of a step is zero, but for the numbers after a row of v, which are not read:
// they keep rows from lying a power of two apart, where a cache holds only some of them.
template <class Number>
struct Layout {
    using P = Product<Number>;
    std::int64_t keys, width;
    std::int64_t inner_width = round_up(width, P::inner_step);
    std::int64_t v_rows = round_up(width, P::outer_step);
    std::int64_t v_stride = round_up(std::min(keys, P::block_keys), P::inner_step) + 32;
    std::int64_t size_of_k() const { return round_up(keys * inner_width, 32); }
    std::int64_t size_of_v_block() const { return round_up(v_rows * v_stride, 32); }
    std::int64_t size_of_v() const {
        return (keys + P::block_keys - 1) / P::block_keys * size_of_v_block();
    }
};

// Rows of two bfloat16 each: [keys / 2, width, 2], zero after the last of an odd number.
void pair_rows(const Matrix<const at::BFloat16>& v, std::int64_t keys, std::int64_t width,
               float* out) {
    auto* pairs = reinterpret_cast<std::uint16_t*>(out);
    for_cpu_isa([&] ZOODIP_INLINED {
        for (std::int64_t key = 0; key < keys; key += 2) {
            const at::BFloat16* even = v.row(key);
            const at::BFloat16* odd = v.row(std::min(key + 1, keys - 1));
            const std::uint16_t mask = key + 1 < keys ? 0xffff : 0;
            std::uint16_t* __restrict to = pairs + key * width;
            for (std::int64_t c = 0; c < width; ++c) {
                to[2 * c] = even[c].x;
                to[2 * c + 1] = odd[c].x & mask;
            }
        }
    });
}

// One block of v, transposed.
template <class Number, class In>
void pack_v(const Matrix<const In>& v, std::int64_t keys, const Layout<Number>& layout,
            const Buffer<float>& stage, Number* out) {
    constexpr std::int64_t pair = Product<Number>::paired ? 2 : 1;
    if constexpr (pair == 2) {
        std::fill_n(out, layout.size_of_v_block(), Number(0.0f));
        pair_rows(v, keys, layout.width, stage.get());
    } else {
        copy_rows<float>(v, keys, layout.width, {stage.get(), layout.width}, layout.width);
    }
    transpose({stage.get(), layout.width}, (keys + pair - 1) / pair, layout.width,
              {reinterpret_cast<float*>(out), layout.v_stride / pair});
}

// The keys and values of the head that a thread is at.
template <class Number>
class Keys {
  public:
    explicit Keys(const Layout<Number>& layout)
        : layout_(layout),
          stage_(std::min(layout.keys + 1, Product<Number>::block_keys) * layout.width),
          k_(layout.size_of_k()),
          v_(layout.size_of_v()) {}

    // Nothing is done where they are there already.
    template <class In>
    void hold(const Matrix<const In>& k, const Matrix<const In>& v) {
        constexpr std::int64_t block = Product<Number>::block_keys;
        if (k.data != held_k_) {
            copy_rows<Number>(k, layout_.keys, layout_.width, {k_.get(), layout_.inner_width},
                              layout_.inner_width);
        }
        for (std::int64_t key = 0; v.data != held_v_ && key < layout_.keys; key += block) {
            pack_v<Number, In>({v.row(key), v.stride}, std::min(block, layout_.keys - key), layout_,
                               stage_, v_.get() + key / block * layout_.size_of_v_block());
        }
        held_k_ = k.data;
        held_v_ = v.data;
    }

    const Number* k() const { return k_.get(); }
    const Number* v() const { return v_.get(); }

  private:
    Layout<Number> layout_;
    Buffer<float> stage_;
    Buffer<Number> k_, v_;
    const void *held_k_ = nullptr, *held_v_ = nullptr;
};

// A tile of queries on its way through the keys. `max` and `sum` are those of the keys so far, of
// the scores and of the weights 2^(scale score - offset); `out` is the sum of weight * v.
template <class Number>
struct Tile {
    using P = Product<Number>;
    Buffer<float> stage;     // [64, inner_width]
    Buffer<Number> queries;  // [inner_width, 64], in pairs [inner_width / 2, 64, 2]
    Buffer<float> scores;    // [block_keys, 64]; of float32 products the weights as well
    Buffer<Number> pairs;    // the weights in pairs, [block_keys / 2, 64, 2]
    Buffer<float> out;       // [v_rows, 64]
    alignas(64) float max[lanes], sum[lanes], offset[lanes], factor[lanes];

    explicit Tile(const Layout<Number>& layout)
        : stage(std::max(layout.inner_width, layout.width) * lanes),
          queries(layout.inner_width * lanes),
          scores(P::block_keys * lanes),
          pairs(P::paired ? P::block_keys * lanes : 0),
          out(layout.v_rows * lanes) {}

    Number* weights() const {
        if constexpr (P::paired) {
            return pairs.get();
        } else {
            return scores.get();
        }
    }
};

template <class Number, class In>
void start(Tile<Number>& tile, const Matrix<const In>& q, std::int64_t count,
           const Layout<Number>& layout) {
    std::fill_n(tile.max, lanes, -std::numeric_limits<float>::infinity());
    std::fill_n(tile.sum, lanes, 0.0f);
    const Matrix<Number> staged{reinterpret_cast<Number*>(tile.stage.get()), layout.inner_width};
    copy_rows<Number>(q, count, layout.width, staged, layout.inner_width);
    std::fill(staged.row(count), staged.row(lanes), Number(0.0f));
    const std::int64_t units = layout.inner_width / (Product<Number>::paired ? 2 : 1);
    transpose({tile.stage.get(), units}, lanes, units,
              {reinterpret_cast<float*>(tile.queries.get()), lanes});
}

ZOODIP_INLINED inline float larger(float a, float b) {
    return a > b ? a : b;
}

// max[i] = the largest of max[i] and column i of scores [keys, 64]. Not NaN's business: a NaN makes
// its query's sum NaN.
void take_maxima(const float* __restrict scores, std::int64_t keys, float* __restrict max) {
    for_cpu_isa([&] ZOODIP_INLINED {
        std::int64_t key = 0;
        for (; key + 4 <= keys; key += 4) {  // four keys for each time that max goes to memory
            const float* s = scores + key * lanes;
            for (std::int64_t i = 0; i < lanes; ++i) {
                const float first = larger(s[i], s[i + lanes]);
                const float last = larger(s[i + 2 * lanes], s[i + 3 * lanes]);
                max[i] = larger(max[i], larger(first, last));
            }
        }
        for (; key < keys; ++key) {
            for (std::int64_t i = 0; i < lanes; ++i) {
                max[i] = larger(max[i], scores[key * lanes + i]);
            }
        }
    });
}

// Brings sum and out, which are relative to the old offset, to that of the new maxima.
template <class Number>
void move_offset(Tile<Number>& tile, float scale, std::int64_t v_rows) {
    float* __restrict out = tile.out.get();
    float* __restrict offset = tile.offset, * __restrict factor = tile.factor;
    float* __restrict sum = tile.sum;
    const float* __restrict max = tile.max;
    for_cpu_isa([&] ZOODIP_INLINED {
        for (std::int64_t i = 0; i < lanes; ++i) {
            const float moved = max[i] * scale;
            factor[i] = power_of_two<5>(offset[i] - moved);
            offset[i] = moved;
            sum[i] *= factor[i];
        }
        for (std::int64_t c = 0; c < v_rows; ++c) {
            for (std::int64_t i = 0; i < lanes; ++i) out[c * lanes + i] *= factor[i];
        }
    });
}

// scores -> weights, in place, and their sums.
void weigh(Tile<float>& tile, std::int64_t keys, const Exponents& exponents) {
    const float scale = exponents.scale, lowest = exponents.lowest;
    float* __restrict scores = tile.scores.get();
    float* __restrict sum = tile.sum;
    const float* __restrict offset = tile.offset;
    for_cpu_isa([&] ZOODIP_INLINED {
        for (std::int64_t key = 0; key < keys; ++key) {
            float* __restrict s = scores + key * lanes;
            for (std::int64_t i = 0; i < lanes; ++i) {
                s[i] = power_of_two<5>(std::fma(s[i], scale, -offset[i]), lowest);
                sum[i] += s[i];
            }
        }
    });
}

// scores -> weights in pairs of keys, zero up to the next multiple of inner_step, and their sums.
// They are rounded to the nearest bfloat16, a tie upwards: an addition alone.
void weigh(Tile<at::BFloat16>& tile, std::int64_t keys, const Exponents& exponents) {
    const float scale = exponents.scale, lowest = exponents.lowest;
    const std::int64_t step = Product<at::BFloat16>::inner_step;
    auto* __restrict pairs = reinterpret_cast<std::uint32_t*>(tile.pairs.get());
    const float* __restrict scores = tile.scores.get();
    float* __restrict sum = tile.sum;
    const float* __restrict offset = tile.offset;
    for_cpu_isa([&] ZOODIP_INLINED {
        const auto weight = [&](float score, float at) ZOODIP_INLINED {
            return power_of_two<3>(std::fma(score, scale, -at), lowest);
        };
        const auto rounded = [](float p) ZOODIP_INLINED {
            return __builtin_bit_cast(std::uint32_t, p) + 0x8000u;
        };
        std::int64_t key = 0;
        for (; key + 2 <= keys; key += 2) {
            const float* __restrict s = scores + key * lanes;
            for (std::int64_t i = 0; i < lanes; ++i) {
                const float even = weight(s[i], offset[i]), odd = weight(s[i + lanes], offset[i]);
                sum[i] += even + odd;
                pairs[key / 2 * lanes + i] = rounded(even) >> 16 | (rounded(odd) & 0xffff0000u);
            }
        }
        for (std::int64_t i = 0; key < keys && i < lanes; ++i) {
            const float last = weight(scores[key * lanes + i], offset[i]);
            sum[i] += last;
            pairs[key / 2 * lanes + i] = rounded(last) >> 16;
        }
    });
    std::fill(pairs + (keys + 1) / 2 * lanes, pairs + round_up(keys, step) / 2 * lanes, 0u);
}

// out / sum to the rows of `to`; the logarithm of the sum to `log2_sum`, unless that is null.
template <class Number, class In>
void finish(Tile<Number>& tile, std::int64_t count, std::int64_t width, const Matrix<In>& to,
            float* log2_sum) {
    float* __restrict out = tile.out.get(), * __restrict factor = tile.factor;
    const float* __restrict sum = tile.sum;
    for_cpu_isa([&] ZOODIP_INLINED {
        for (std::int64_t i = 0; i < lanes; ++i) factor[i] = 1.0f / sum[i];
        for (std::int64_t c = 0; c < width; ++c) {
            for (std::int64_t i = 0; i < lanes; ++i) out[c * lanes + i] *= factor[i];
        }
    });
    transpose({out, lanes}, width, count, {tile.stage.get(), width});
    copy_rows<In>(Matrix<const float>{tile.stage.get(), width}, count, width, to, width);
    for (std::int64_t i = 0; log2_sum != nullptr && i < count; ++i) {
        log2_sum[i] = tile.offset[i] + std::log2(sum[i]);
    }
}

// scores = k queries^T for the keys of a block, and their maxima, in steps that a core's first
// cache holds.
template <class Number>
void score(Tile<Number>& tile, const Number* k, std::int64_t keys, std::int64_t inner_width) {
    constexpr std::int64_t step = 128;
    for (std::int64_t key = 0; key < keys; key += step) {
        const std::int64_t count = std::min(step, keys - key);
        float* scores = tile.scores.get() + key * lanes;
        brgemm({count, lanes, inner_width, inner_width, lanes, lanes}, k + key * inner_width,
               tile.queries.get(), scores);
        take_maxima(scores, count, tile.max);
    }
}

// The keys and values of one head, through which a tile of queries goes block by block.
template <class Number>
void attend(Tile<Number>& tile, const Number* k, const Number* v, const Layout<Number>& layout,
            const Exponents& exponents) {
    using P = Product<Number>;
    for (std::int64_t key = 0; key < layout.keys; key += P::block_keys) {
        const std::int64_t keys = std::min(P::block_keys, layout.keys - key);
        alignas(64) float before[lanes];
        std::copy_n(tile.max, lanes, before);
        score(tile, k + key * layout.inner_width, keys, layout.inner_width);
        if (key == 0) {
            for (std::int64_t i = 0; i < lanes; ++i) {
                tile.offset[i] = tile.max[i] * exponents.scale;
            }
        } else if (!std::equal(before, before + lanes, tile.max)) {
            move_offset(tile, exponents.scale, layout.v_rows);
        }
        weigh(tile, keys, exponents);
        brgemm({layout.v_rows, lanes, round_up(keys, P::inner_step), layout.v_stride, lanes, lanes,
                key > 0},
               v, tile.weights(), tile.out.get());
        v += layout.size_of_v_block();
    }
}

template <class Number, class In>
class Call {
  public:
    Call(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Shape& shape)
        : shape_(shape), q_(q), k_(k), v_(v) {}

    // The tiles of a head come one after the other, so that a thread packs few heads; rows that
    // share their keys come together.
    void run(const Attention& result) const {
        const std::int64_t tiles = shape_.query_tiles();
        share_tasks(shape_.heads * shape_.rows * tiles, [&](SharedTasks& tasks) {
            const BrgemmScope scope;
            Keys<Number> keys(layout_);
            Tile<Number> tile(layout_);
            tasks.each([&](std::int64_t i) {
                const std::int64_t head = i / tiles / shape_.rows;
                const std::int64_t row = i / tiles % shape_.rows;
                keys.hold(head_of<const In>(k_, row, head, shape_.width),
                          head_of<const In>(v_, row, head, shape_.width));
                compute(tile, keys, {row, head, i % tiles * lanes}, result);
            });
        });
    }

  private:
    struct Place {
        std::int64_t row, head, query;
    };

    void compute(Tile<Number>& tile, const Keys<Number>& keys, const Place& at,
                 const Attention& result) const {
        const std::int64_t count = std::min(lanes, shape_.queries - at.query);
        const auto q = head_of<const In>(q_, at.row, at.head, shape_.width);
        start<Number, In>(tile, {q.row(at.query), q.stride}, count, layout_);
        attend(tile, keys.k(), keys.v(), layout_, exponents_of(shape_));
        const std::int64_t stride = shape_.heads * shape_.width;
        In* out = result.out.mutable_data_ptr<In>() +
                  (at.row * shape_.queries + at.query) * stride + at.head * shape_.width;
        const std::int64_t sum = (at.row * shape_.heads + at.head) * shape_.queries + at.query;
        finish<Number, In>(tile, count, shape_.width, {out, stride},
                           result.log2_sum_exp2.defined()
                               ? result.log2_sum_exp2.mutable_data_ptr<float>() + sum
                               : nullptr);
    }

    Shape shape_;
    Layout<Number> layout_{shape_.keys, shape_.width};
    const at::Tensor &q_, &k_, &v_;
};

}  // namespace

bool has_attention_cpu(at::ScalarType type) {
    return (type == at::kFloat || type == at::kBFloat16) && has_float_brgemm();
}

Attention attention_cpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                        std::int64_t heads, bool with_log2_sum_exp2) {
    const Shape shape = shape_of(q, k, v, heads);
    const at::ScalarType type = q.scalar_type();
    require(has_attention_cpu(type), "attention: needs float32 or bfloat16 and AVX2, got ",
            at::toString(type));
    const Attention result{at::empty({shape.rows, shape.queries, q.size(2)}, q.options()),
                           with_log2_sum_exp2 ? at::empty({shape.rows, heads, shape.queries},
                                                          q.options().dtype(at::kFloat))
                                              : at::Tensor()};
    if (type == at::kFloat) {
        Call<float, float>(q, k, v, shape).run(result);
    } else if (bfloat16_is_faster()) {
        Call<at::BFloat16, at::BFloat16>(q, k, v, shape).run(result);
    } else {
        Call<float, at::BFloat16>(q, k, v, shape).run(result);
    }
    return result;
}

}  // namespace zoodip
