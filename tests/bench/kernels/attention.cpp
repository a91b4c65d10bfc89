// Attention at the shapes of SD 1.5 with 512 x 512 pictures: ours and torch's.
#include <benchmark/benchmark.h>
#include <string>
#include <utility>

#include <ATen/ATen.h>

#include "ops/attention_cpu.h"

namespace zoodip {
namespace {

struct Shape {
    std::int64_t rows, queries, keys, width;
};

constexpr std::int64_t heads = 8;

struct Inputs {
    at::Tensor q, k, v, dy;

    Inputs(const Shape& shape, at::ScalarType type)
        : q(at::randn({shape.rows, shape.queries, heads * shape.width}).to(type)),
          k(at::randn({shape.rows, shape.keys, heads * shape.width}).to(type)),
          v(at::randn_like(k)),
          dy(at::randn_like(q)) {}
};

at::Tensor split(const at::Tensor& x) {
    return x.view({x.size(0), x.size(1), heads, -1}).transpose(1, 2);
}

// Runs `work` and counts what `products` products of [queries, keys, width] are.
template <class Work>
void measure(benchmark::State& state, const Shape& shape, int products, const Work& work) {
    for (auto _ : state) work();
    const double flop = 2.0 * products * static_cast<double>(shape.rows * heads * shape.queries) *
                        static_cast<double>(shape.keys * shape.width);
    state.counters["FLOP/s"] = benchmark::Counter(
        flop, benchmark::Counter::kIsIterationInvariantRate, benchmark::Counter::kIs1000);
}

void forward_ours(benchmark::State& state, const Shape& shape, at::ScalarType type) {
    const Inputs in(shape, type);
    measure(state, shape, 2, [&] { attention_cpu(in.q, in.k, in.v, heads); });
}

void forward_torch(benchmark::State& state, const Shape& shape, at::ScalarType type) {
    const Inputs in(shape, type);
    measure(state, shape, 2,
            [&] { at::scaled_dot_product_attention(split(in.q), split(in.k), split(in.v)); });
}

void backward_ours(benchmark::State& state, const Shape& shape, at::ScalarType type) {
    const Inputs in(shape, type);
    const Attention forward = attention_cpu(in.q, in.k, in.v, heads, true);
    measure(state, shape, 5,
            [&] { attention_cpu_backward(in.dy, in.q, in.k, in.v, heads, forward); });
}

void backward_torch(benchmark::State& state, const Shape& shape, at::ScalarType type) {
    const Inputs in(shape, type);
    const at::Tensor q = split(in.q), k = split(in.k), v = split(in.v), dy = split(in.dy);
    const auto [out, log_sum] = at::_scaled_dot_product_flash_attention_for_cpu(q, k, v);
    measure(state, shape, 5, [&, &y = out, &l = log_sum] {
        at::_scaled_dot_product_flash_attention_for_cpu_backward(dy, q, k, v, y, l, 0.0, false);
    });
}

using Run = void (*)(benchmark::State&, const Shape&, at::ScalarType);

void add(const std::string& name, Run run, const Shape& shape, at::ScalarType type) {
    const std::string sizes = std::to_string(shape.rows) + "x" + std::to_string(heads) + "x" +
                              std::to_string(shape.queries) + "x" + std::to_string(shape.keys) +
                              "x" + std::to_string(shape.width);
    benchmark::RegisterBenchmark((name + "/" + at::toString(type) + "/" + sizes).c_str(), run,
                                 shape, type)
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
}

// Names: ours or torch, what, type, rows x heads x queries x keys x width.
const bool added = [] {
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
        if (!has_attention_cpu(type)) continue;
        for (const auto& [queries, width] :
             {std::pair{4096, 40}, std::pair{1024, 80}, std::pair{256, 160}, std::pair{64, 160}}) {
            for (const std::int64_t keys : {std::int64_t{queries}, std::int64_t{77}}) {
                const Shape three{3, queries, keys, width}, one{1, queries, keys, width};
                add("ours/attention", forward_ours, three, type);
                add("torch/attention", forward_torch, three, type);
                add("ours/attention_backward", backward_ours, one, type);
                add("torch/attention_backward", backward_torch, one, type);
            }
        }
    }
    return true;
}();

}  // namespace
}  // namespace zoodip
