// Static scales of activations: found from what goes by, kept, and used layer by layer.
#include <cmath>
#include <functional>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "ops/finite.h"
#include "ops/layer_activation.h"
#include "ops/layers.h"

namespace zoodip {
namespace {

at::Tensor random(at::IntArrayRef sizes, std::uint64_t step) {
    return at::randn(sizes, at::detail::createCPUGenerator(step));
}

void calibrate(Activations& all, const std::function<void()>& pass) {
    for (const Calibration calibration : {Calibration::observe, Calibration::compare}) {
        all.set_calibration(calibration);
        pass();
    }
    all.settle();
}

TEST(LayerActivation, ZeroIsExactAndTheRangeIsCovered) {
    Activations all;
    const auto layer = all.add("a", 1);
    EXPECT_FALSE(layer->ready());
    layer->observe(at::tensor({-1.0f, 0.5f, 3.0f}));
    ASSERT_TRUE(layer->ready());
    const ActivationScale s = layer->scale();
    EXPECT_GE(s.zero, 0);
    EXPECT_LE(-s.scale * static_cast<float>(s.zero), -1.0f);
    EXPECT_GE(s.scale * static_cast<float>(255 - s.zero), 3.0f);
    EXPECT_LT(s.scale, 1.2f * 4 / 255);
    layer->observe(at::tensor({2.0f}));  // lies within: nothing changes
    EXPECT_EQ(layer->scale().scale, s.scale);
}

TEST(LayerActivation, EveryTenthOfTheTimestepsHasItsOwn) {
    Activations all;
    const auto layer = all.add("a", 1);
    all.set_timestep(950);
    layer->observe(at::tensor({-1.0f, 1.0f}));
    EXPECT_TRUE(layer->ready());
    all.set_timestep(899);
    EXPECT_FALSE(layer->ready());
    all.set_timestep(900);
    EXPECT_TRUE(layer->ready());
    EXPECT_EQ(LayerActivation::bin_of(1000), LayerActivation::bins - 1);
    EXPECT_EQ(LayerActivation::bin_of(-1), 0u);
}

class CalibratedLayer : public testing::Test {
  protected:
    void SetUp() override {
        if (!has_panel_product(ProductType::int8)) GTEST_SKIP() << "no AVX2";
        weight = FrozenWeight(random({64, 64}, 1), WeightType::int8, ComputeType::int8, at::kCPU);
        weight.set_activation(all.add("layer", 64));
    }
    at::Tensor run(const at::Tensor& x) const { return linear(x, weight, {}); }

    Activations all;
    FrozenWeight weight;
};

TEST_F(CalibratedLayer, MultipliesIntegersOnceItIsCalibrated) {
    const at::Tensor x = random({8, 64}, 2), before = run(x);
    calibrate(all, [&] { run(x); });
    const auto& layer = *all.layers().front();
    EXPECT_FALSE(layer.sensitive());
    EXPECT_GT(layer.error(), 0);
    EXPECT_EQ(all.integer_share(), 1);
    const at::Tensor after = run(x);
    EXPECT_FALSE(at::equal(after, before));
    EXPECT_LT(((after - before).norm() / before.norm()).item<double>(),
              Activations::sensitive_error);
    all.set_timestep(500);  // was not looked at
    EXPECT_TRUE(at::equal(run(x), before));
}

// One large number among small ones leaves few steps for the others.
TEST_F(CalibratedLayer, ASensitiveLayerStaysOut) {
    at::Tensor x = random({8, 64}, 2);
    x[0][0] = 1000.0f;
    const at::Tensor small = x.slice(0, 1), before = run(small);
    all.set_calibration(Calibration::observe);
    run(x);
    all.set_calibration(Calibration::compare);
    run(small);
    all.settle();
    EXPECT_TRUE(all.layers().front()->sensitive());
    EXPECT_EQ(all.integer_share(), 0);
    EXPECT_TRUE(at::equal(run(small), before));
}

TEST_F(CalibratedLayer, WhatIsSavedComesBack) {
    const at::Tensor x = random({8, 64}, 2);
    calibrate(all, [&] { run(x); });
    const at::Tensor after = run(x), saved = all.save();
    Activations other;
    weight.set_activation(other.add("layer", 64));
    other.restore(saved);
    EXPECT_TRUE(at::equal(run(x), after));
    EXPECT_TRUE(at::equal(other.save(), saved));
    Activations two;
    two.add("a", 1);
    two.add("b", 1);
    EXPECT_THROW(two.restore(saved), Error);
    EXPECT_THROW(two.restore(at::Tensor()), Error);
    for (const float bad : {INFINITY, NAN, 1.0f}) {  // the lower end of a range
        at::Tensor damaged = saved.clone();
        damaged.select(0, 0).select(0, 0).select(0, 0).fill_(bad);
        EXPECT_THROW(other.restore(damaged), Error);
    }
}

TEST_F(CalibratedLayer, HasNoGradient) {
    const at::AutoGradMode recording(true);
    EXPECT_THROW(run(random({8, 64}, 2).set_requires_grad(true)), Error);
}

TEST(AllFinite, FindsOneBadNumberInEveryType) {
    for (const auto type : {at::kHalf, at::kBFloat16, at::kFloat, at::kDouble}) {
        at::Tensor x = random({300001}, 1).to(type);
        EXPECT_TRUE(all_finite(x));
        for (const double bad : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
            for (const std::int64_t place : {0, 299999, 300000}) {
                at::Tensor with = x.clone();
                with[place] = bad;
                EXPECT_FALSE(all_finite(with)) << type << " " << bad << " at " << place;
            }
        }
    }
}

}  // namespace
}  // namespace zoodip
