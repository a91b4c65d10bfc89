// Layers with INT8 weights at the shapes of SD 1.5 with 512 x 512 pictures and three rows: ours,
// and torch's on the weight that is dequantised in every call.
#include <benchmark/benchmark.h>
#include <string>

#include <ATen/ATen.h>

#include "ops/panel_product.h"

namespace zoodip {
namespace {

struct Shape {
    std::int64_t rows, in, out, side, kernel;  // side: of the picture; kernel 0: a linear layer
};

struct Inputs {
    at::Tensor x, bias;
    PackedWeight packed;
    PanelWeight panels;

    explicit Inputs(const Shape& s)
        : x(at::randn({s.rows, s.in, s.side, s.side}).contiguous(at::MemoryFormat::ChannelsLast)),
          bias(at::randn({s.out})) {
        const at::Tensor weight =
            s.kernel == 0 ? at::randn({s.out, s.in}) : at::randn({s.out, s.in, s.kernel, s.kernel});
        packed = quantize_int8(weight);
        panels = PanelWeight(weight);
    }
    at::Tensor tokens() const { return x.permute({0, 2, 3, 1}).flatten(1, 2); }
};

template <class Work>
void measure(benchmark::State& state, const Shape& s, const Work& work) {
    for (auto _ : state) work();
    const double taps = s.kernel == 0 ? 1.0 : static_cast<double>(s.kernel * s.kernel);
    const double flop = 2.0 * taps * static_cast<double>(s.rows * s.side * s.side) *
                        static_cast<double>(s.in * s.out);
    state.counters["FLOP/s"] = benchmark::Counter(
        flop, benchmark::Counter::kIsIterationInvariantRate, benchmark::Counter::kIs1000);
}

at::ScalarType number_of(ProductType type) {
    return type == ProductType::float32 ? at::kFloat : at::kBFloat16;
}

void ours(benchmark::State& state, const Shape& s, ProductType type) {
    const Inputs in(s);
    const at::ScalarType number = number_of(type);
    const PanelProduct product{in.panels, type, {8.0f / 127, 128}, in.bias, {}, number};
    const at::Tensor x = in.x.to(number), tokens = in.tokens().to(number);
    measure(state, s, [&] { s.kernel == 0 ? product.linear(tokens) : product.conv2d(x, 1, 1); });
}

// In float32 for float32, else in bfloat16: torch has no product of this weight with integers.
void torch(benchmark::State& state, const Shape& s, ProductType type) {
    const Inputs in(s);
    const at::ScalarType number = number_of(type);
    const at::Tensor x = in.x.to(number), tokens = in.tokens().to(number);
    const at::Tensor bias = in.bias.to(number);
    measure(state, s, [&] {
        const at::Tensor weight = dequantize_int8(in.packed, number);
        s.kernel == 0 ? at::linear(tokens, weight, bias) : at::conv2d(x, weight, bias, 1, 1);
    });
}

using Run = void (*)(benchmark::State&, const Shape&, ProductType);

void add(const std::string& name, Run run, const Shape& s, ProductType type) {
    const char* types[] = {"float32", "bfloat16", "int8"};
    const std::string sizes = std::to_string(s.rows) + "x" + std::to_string(s.in) + "x" +
                              std::to_string(s.out) + "@" + std::to_string(s.side);
    const std::string layer = s.kernel == 0 ? "/linear/" : "/conv2d/";
    benchmark::RegisterBenchmark(
        (name + layer + types[static_cast<int>(type)] + "/" + sizes).c_str(), run, s, type)
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
}

// Names: ours or torch, what, type, rows x in x out @ side.
const bool added = [] {
    const Shape shapes[] = {{3, 320, 320, 64, 3},   {3, 960, 320, 64, 3},  {3, 640, 640, 32, 3},
                            {3, 1280, 1280, 16, 3}, {3, 1280, 1280, 8, 3}, {3, 2560, 1280, 8, 3},
                            {3, 320, 320, 64, 0},   {3, 320, 2560, 64, 0}, {3, 1280, 320, 64, 0},
                            {3, 640, 640, 32, 0},   {3, 640, 5120, 32, 0}, {3, 1280, 10240, 16, 0},
                            {3, 5120, 1280, 16, 0}};
    for (const auto type : {ProductType::float32, ProductType::bfloat16, ProductType::int8}) {
        if (!has_panel_product(type)) continue;
        for (const Shape& shape : shapes) {
            add("ours", ours, shape, type);
            add("torch", torch, shape, type);
        }
    }
    return true;
}();

}  // namespace
}  // namespace zoodip
