// The CPU kernel of attention: blocks of keys and an online softmax, no matrix of scores in memory.
//
// ATen's own spends most of its time in the exponential and its conversions. Here one thread
// computes one tile of queries, by the same arithmetic whatever else there is, so that a row's bits
// depend on its own numbers alone.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace zoodip {

// Whether there is a kernel for activations of this type on this processor and in this torch.
bool has_attention_cpu(at::ScalarType type);

struct Attention {
    at::Tensor out;            // [rows, queries, heads * width], contiguous, in q's type
    at::Tensor log2_sum_exp2;  // float32 [rows, heads, queries]: log2 of the sum over the keys of
                               // 2^(log2(e) q k / sqrt(width)); undefined where not asked for
};

// softmax(q k^T / sqrt(width)) v for each head. q: [rows or 1, queries, heads * width], k and v:
// [rows or 1, keys, heads * width], all float32 or all bfloat16; a single row serves every row and
// is not copied. Products of bfloat16 are made in bfloat16 where that is faster, else in float32;
// sums are float32.
Attention attention_cpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                        std::int64_t heads, bool with_log2_sum_exp2 = false);

// dL/dq, dL/dk and dL/dv from dy = dL/dout, in the shapes and types of q, k and v; a single row's
// is summed over the rows that it serves. Scores are computed again; products and sums are float32.
struct AttentionGradient {
    at::Tensor dq, dk, dv;
};
AttentionGradient attention_cpu_backward(const at::Tensor& dy, const at::Tensor& q,
                                         const at::Tensor& k, const at::Tensor& v,
                                         std::int64_t heads, const Attention& forward);

}  // namespace zoodip
