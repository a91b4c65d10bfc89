#include "ops/product_speed.h"

#include <algorithm>
#include <chrono>
#include <limits>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/rand.h>

#include "ops/attention_cpu.h"

namespace zoodip {
namespace {

// Of a generator of our own: the process's random numbers are the user's.
at::Tensor random(at::IntArrayRef sizes) {
    return at::rand(sizes, at::detail::createCPUGenerator(1), at::TensorOptions(at::kFloat)) - 0.5;
}

// The first run finds what it needs out of the caches.
template <class Work>
double fastest(const Work& work) {
    constexpr int runs = 4;
    double best = std::numeric_limits<double>::infinity();
    for (int i = 0; i < runs; ++i) {
        const auto start = std::chrono::steady_clock::now();
        work();
        const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
        best = std::min(best, passed.count());
    }
    return best;
}

std::int64_t padding_of(const ProductCase& of) {
    return of.weight.size() == 4 ? of.weight[2] / 2 : 0;
}

at::Tensor input_of(const ProductCase& of) {
    if (of.weight.size() == 2) return random({of.rows * of.height * of.width, of.weight[1]});
    return random({of.rows, of.weight[1], of.height, of.width})
        .contiguous(at::MemoryFormat::ChannelsLast);
}

PanelProduct product_of(const PanelWeight& weight, ProductType type) {
    return {.weight = weight, .type = type, .activation = {1.0f / 255, 128}};
}

at::Tensor multiply(const ProductCase& of, const PanelProduct& product, const at::Tensor& x) {
    return of.weight.size() == 2 ? product.linear(x) : product.conv2d(x, of.stride, padding_of(of));
}

}  // namespace

ProductSpeed::ProductSpeed(const ProductCase& of)
    : case_(of),
      weight_(random(of.weight)),
      x_(input_of(of)),
      y_(multiply(case_, product_of(weight_, ProductType::float32), x_)) {}

double ProductSpeed::forward(ProductType type) const {
    return fastest([&] { multiply(case_, product_of(weight_, type), x_); });
}

double ProductSpeed::backward(ProductType type) const {
    return fastest([&] {
        panel_gradient(product_of(weight_, type), y_, x_.sizes(), case_.stride, padding_of(case_));
    });
}

double attention_seconds(std::int64_t rows, std::int64_t tokens, std::int64_t channels,
                         std::int64_t heads, at::ScalarType type) {
    const at::Tensor q = random({rows, tokens, channels}).to(type);
    return fastest([&] { attention_cpu(q, q, q, heads); });
}

}  // namespace zoodip
