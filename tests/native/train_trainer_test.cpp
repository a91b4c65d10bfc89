// The loop over a closed-form objective: what it draws, and that a stopped run goes on as if it had
// never stopped.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <numbers>
#include <optional>
#include <set>
#include <string>
#include <unistd.h>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "ops/panel_product.h"
#include "train/compute_choice.h"
#include "train/going_on.h"
#include "train/trainer.h"

namespace zoodip {
namespace {

// L(theta) = |theta - c|^2 / d, c depending on the sample, so that a wrong draw shows.
class Bowl : public Objective {
  public:
    at::Tensor losses(const at::Tensor& thetas, const Sample& sample, LossForm form) override {
        samples.push_back(sample);
        forms.push_back(form);
        points.push_back(thetas);
        const at::Tensor off = thetas.to(at::kDouble) - centre(sample);
        return (off * off).mean(1);
    }
    static at::Tensor centre(const Sample& sample) {
        return 1 + 0.1 * at::cat({sample.eps, sample.eps.flip(3)}).flatten().slice(0, 0, 24);
    }
    std::vector<Sample> samples;
    std::vector<LossForm> forms;
    std::vector<at::Tensor> points;
};

// The same with its gradient 2 (theta - c) / d.
class ExactBowl : public Bowl {
  public:
    LossGradient gradient(const at::Tensor& theta, const Sample& sample) override {
        const double loss = losses(theta.unsqueeze(0), sample, LossForm::squared)[0].item<double>();
        const at::Tensor off = theta.to(at::kDouble) - centre(sample);
        return {loss, (2 * off / off.numel()).to(at::kFloat)};
    }
};

constexpr std::int64_t width = 24;

std::vector<LatentPicture> latents(int count) {
    std::vector<LatentPicture> all;
    for (int i = 0; i < count; ++i) {
        const at::Tensor mean = at::full({1, 4, 2, 2}, static_cast<double>(i));
        all.push_back({{{mean, at::zeros_like(mean)}, {mean + 100, at::zeros_like(mean)}}});
    }
    return all;
}

TrainSettings settings() {
    TrainSettings s;
    s.steps = 60;
    s.tau = 8;
    s.mu = 1e-3;
    s.learning_rate = 0.05;
    s.n = 2;
    s.adam_eps = 1e-3;
    s.learning_rate_schedule = LearningRateSchedule::constant;
    s.subspace = true;
    s.seed = 3;
    return s;
}

Trainer trainer_of(const TrainSettings& s, Objective& objective,
                   const std::vector<LatentPicture>& pictures,
                   const DirectionSpace& space = DirectionSpace(width)) {
    const TimestepPlan plan(s.timesteps, s.t_lower, s.t_upper, NoiseSchedule());
    return {s, objective, Sampling(pictures, plan, s.flip, static_cast<std::uint64_t>(s.seed)),
            space, at::zeros({width})};
}

// Three of the twelve directions of each half.
DirectionSpace narrow_space() {
    const at::Tensor basis = at::eye(12).slice(0, 2, 5).contiguous();
    return DirectionSpace({{2, basis}});
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
    return a.sizes() == b.sizes() && (a.numel() == 0 || at::equal(a, b));
}

TEST(Trainer, LowersAConvexLoss) {
    Bowl bowl;
    const auto pictures = latents(3);
    TrainSettings s = settings();
    s.steps = 400;
    Trainer trainer = trainer_of(s, bowl, pictures);
    const double before = trainer.evaluate().loss;
    while (trainer.step() < s.steps) trainer.advance(trainer.evaluate());
    EXPECT_LT(trainer.evaluate().loss, 0.5 * before);
}

TEST(Trainer, DrawsEveryPictureOnceARoundAndTimestepsInRange) {
    Bowl bowl;
    const auto pictures = latents(5);
    Trainer trainer = trainer_of(settings(), bowl, pictures);
    while (trainer.step() < 50) trainer.advance(trainer.evaluate());
    std::set<std::vector<std::int64_t>> orders;
    int mirrored = 0;
    for (int round = 0; round < 10; ++round) {
        std::vector<std::int64_t> order;
        for (int i = 0; i < 5; ++i) {
            const Sample& sample = bowl.samples[static_cast<std::size_t>(5 * round + i)];
            order.push_back(sample.picture);
            mirrored += sample.mirrored;
            EXPECT_GE(sample.timestep, 500);
            EXPECT_LT(sample.timestep, 900);
            const double expected =
                static_cast<double>(sample.picture) + (sample.mirrored ? 100 : 0);
            EXPECT_EQ(sample.z.mean().item<double>(), expected);
        }
        EXPECT_EQ(std::set<std::int64_t>(order.begin(), order.end()).size(), 5u);
        orders.insert(order);
    }
    EXPECT_GT(orders.size(), 3u);  // shuffled anew: ten equal orders of 120 do not happen
    EXPECT_GT(mirrored, 5);        // 50 fair draws: P(<= 5) < 1e-8
    EXPECT_LT(mirrored, 45);
}

TEST(Trainer, SharesOneSampleAmongThePassesOfAStep) {
    Bowl bowl;
    const auto pictures = latents(2);
    Trainer trainer = trainer_of(settings(), bowl, pictures);
    trainer.evaluate();
    EXPECT_EQ(bowl.samples.size(), 1u);
    EXPECT_EQ(bowl.points.at(0).size(0), settings().n + 1);
}

TEST(Trainer, EvaluatingChangesNothing) {
    Bowl bowl;
    const auto pictures = latents(3);
    const Trainer trainer = trainer_of(settings(), bowl, pictures);
    const Evaluation first = trainer.evaluate(), second = trainer.evaluate();
    EXPECT_EQ(first.loss, second.loss);
    EXPECT_TRUE(same_bits(first.gradient, second.gradient));
    EXPECT_EQ(trainer.step(), 0);
}

// Loss and slopes are means over the batch, all points seeing the same samples.
TEST(Trainer, ABatchIsTheMeanOverItsSamples) {
    TrainSettings s = settings();
    s.batch = 3;
    for (const EstimatorKind* method : all_estimators()) {
        s.method = Method{method};
        Bowl bowl;
        const auto pictures = latents(4);
        Trainer trainer = trainer_of(s, bowl, pictures);
        trainer.advance(trainer.evaluate());
        bowl.samples.clear();
        bowl.points.clear();
        const Evaluation found = trainer.evaluate();
        ASSERT_EQ(bowl.samples.size(), 3u);
        at::Tensor losses = at::zeros({bowl.points.at(0).size(0)}, at::kDouble);
        Bowl other;
        const Sampling sampling(pictures, {s.timesteps, s.t_lower, s.t_upper, NoiseSchedule()},
                                s.flip, static_cast<std::uint64_t>(s.seed));
        for (std::size_t i = 0; i < 3; ++i) {
            // The second step takes draws 3, 4 and 5 of the run.
            const Sample sample = sampling.draw(3 + i);
            EXPECT_EQ(bowl.samples.at(i).timestep, sample.timestep);
            EXPECT_TRUE(at::equal(bowl.samples.at(i).eps, sample.eps));
            EXPECT_TRUE(at::equal(bowl.points.at(i), bowl.points.at(0)));
            losses += other.losses(bowl.points.at(0), sample, LossForm::squared) / 3;
        }
        const auto estimator = method->make(s.mu);
        const at::Tensor directions = DirectionSpace(width).draw(estimator->directions(s.n), 3, 1);
        // Sums of three losses near 1 in two orders differ by at most 8 * 2^-53, slopes by twice
        // that over mu; |e| stays below 6, and both estimates are rounded.
        const double apart = 8 * 0x1p-53;
        EXPECT_NEAR(found.loss, estimator->loss(losses), apart);
        const at::Tensor expected = estimator->estimate(losses, directions);
        EXPECT_TRUE(at::allclose(found.gradient, expected, 0x1p-23, 6 * 2 * apart / s.mu));
    }
}

TEST(Trainer, TheExactGradientIsTheMeanOverItsSamplesAndIsNotScaled) {
    TrainSettings s = settings();
    s.method = exact_gradient;
    s.batch = 2;
    ExactBowl bowl;
    const auto pictures = latents(4);
    Trainer trainer = trainer_of(s, bowl, pictures);
    const Evaluation found = trainer.evaluate();
    const at::Tensor one = Bowl::centre(bowl.samples.at(0)).to(at::kDouble),
                     two = Bowl::centre(bowl.samples.at(1)).to(at::kDouble);
    const at::Tensor expected = (-(one + two) / width).to(at::kFloat);
    // Each part was rounded, halved exactly, and their sum is rounded; so was what is expected.
    EXPECT_TRUE(at::allclose(found.gradient, expected, 3 * 0x1p-24, 0));
    EXPECT_NEAR(found.loss, ((one * one).mean() + (two * two).mean()).item<double>() / 2, 1e-14);
    trainer.advance(found);
    ZoAdam adam(width, {.learning_rate = s.learning_rate});
    EXPECT_TRUE(
        same_bits(trainer.theta(), adam.step(at::zeros({width}), found.gradient, 0, 1, false)));
}

TEST(Trainer, AnObjectiveWithoutAGradientSaysSo) {
    TrainSettings s = settings();
    s.method = exact_gradient;
    Bowl bowl;
    const auto pictures = latents(1);
    try {
        trainer_of(s, bowl, pictures).evaluate();
        FAIL() << "accepted";
    } catch (const Error& error) {
        EXPECT_NE(std::string(error.what()).find("`method rge`"), std::string::npos);
    }
}

TEST(Trainer, ResidualSlopesAskForLinearisedLosses) {
    const auto pictures = latents(1);
    for (const bool residual : {false, true}) {
        TrainSettings s = settings();
        s.slope = residual ? Slope::residual : Slope::loss;
        Bowl bowl;
        trainer_of(s, bowl, pictures).evaluate();
        EXPECT_EQ(bowl.forms.at(0), residual ? LossForm::linearised : LossForm::squared);
    }
}

TEST(Trainer, ScheduleFactors) {
    for (const std::int64_t step : {0, 1, 50, 99}) {
        const double done = static_cast<double>(step) / 100;
        EXPECT_EQ(schedule_factor(LearningRateSchedule::constant, step, 100), 1);
        // However many steps are to come.
        EXPECT_EQ(schedule_factor(LearningRateSchedule::inverse, step, 100), 1 / (1 + done));
        EXPECT_EQ(schedule_factor(LearningRateSchedule::inverse, step, 7), 1 / (1 + done));
        EXPECT_EQ(schedule_factor(LearningRateSchedule::linear, step, 100), 1 - done);
        EXPECT_EQ(schedule_factor(LearningRateSchedule::cosine, step, 100),
                  0.5 * (1 + std::cos(std::numbers::pi * done)));
    }
    EXPECT_EQ(schedule_factor(LearningRateSchedule::linear, 0, 7), 1);
    EXPECT_EQ(schedule_factor(LearningRateSchedule::cosine, 0, 7), 1);
    EXPECT_NEAR(schedule_factor(LearningRateSchedule::cosine, 7, 7), 0, 1e-16);
}

// With the same estimate in every step Adam moves by the rate times s / (|s| + eps): the bias
// correction makes mhat s and vhat s^2.
TEST(Trainer, EveryStepTakesTheRateOfItsSchedule) {
    const auto pictures = latents(1);
    for (const auto& [schedule, name] : learning_rate_schedule_names()) {
        TrainSettings s = settings();
        s.learning_rate_schedule = schedule;
        s.steps = 8;
        s.subspace = false;
        Bowl bowl;
        Trainer trainer = trainer_of(s, bowl, pictures);
        Evaluation same = trainer.evaluate();
        same.gradient = at::ones({width});
        const double scale = std::sqrt((width + 2 - 1) / 2.0), one = 1 / scale;
        for (std::int64_t step = 0; step < 8; ++step) {
            const at::Tensor before = trainer.theta();
            const double rate = 0.05 * schedule_factor(schedule, step, 8);
            EXPECT_EQ(trainer.learning_rate(), rate);
            trainer.advance(same);
            const double moved = (before - trainer.theta()).max().item<double>();
            // At step t the quotient is off by 4.5 t + 17 units (see test_zo.py), and theta of up
            // to 0.4 is rounded before and after.
            EXPECT_NEAR(moved, rate * one / (one + 1e-3), 53 * 0x1p-24 * rate + 0.4 * 0x1p-23);
        }
    }
}

TEST(Trainer, TheWordIsTheMeanOverTheLastSteps) {
    const auto pictures = latents(3);
    for (const std::int64_t count : {0, 1, 5, 60}) {
        TrainSettings s = settings();
        s.average_steps = count;
        Bowl bowl;
        Trainer trainer = trainer_of(s, bowl, pictures);
        at::Tensor sum = at::zeros({width}, at::kDouble);
        while (trainer.step() < s.steps) {
            trainer.advance(trainer.evaluate());
            const std::int64_t averaged = trainer.step() - (s.steps - count);
            if (averaged < 1) {
                EXPECT_TRUE(same_bits(trainer.word(), trainer.theta()));
                continue;
            }
            sum += trainer.theta();
            const at::Tensor mean = (sum / static_cast<double>(averaged)).to(at::kFloat);
            EXPECT_TRUE(same_bits(trainer.word(), mean)) << trainer.step();
        }
        EXPECT_EQ(same_bits(trainer.word(), trainer.theta()), count <= 1);
    }
}

// Points lie as far as the scale says, and the estimate is that of the gradient all the same: of a
// linear loss a . theta it is (1/n) sum (a . (s e)) e / s.
TEST(Trainer, AScaleMovesThePointsAndNotTheEstimate) {
    class Plane : public Objective {
      public:
        at::Tensor losses(const at::Tensor& thetas, const Sample&, LossForm) override {
            points.push_back(thetas);
            return at::matmul(thetas.to(at::kDouble), slope);
        }
        at::Tensor slope = at::arange(1, width + 1, at::kDouble);
        std::vector<at::Tensor> points;
    };
    const auto pictures = latents(1);
    const TrainSettings s = settings();
    const at::Tensor scale = at::linspace(0.5, 4, width).to(at::kFloat);
    DirectionSpace space(width);
    space.set_scale(scale);
    Plane plane;
    const at::Tensor found = trainer_of(s, plane, pictures, space).evaluate().gradient;
    const at::Tensor e = DirectionSpace(width).draw(s.n, static_cast<std::uint64_t>(s.seed), 0);
    const at::Tensor moved = plane.points[0].slice(0, 1) - plane.points[0][0];
    EXPECT_TRUE(at::allclose(moved, s.mu * scale * e, 1e-4, 1e-9));
    const at::Tensor slopes = at::matmul((scale * e).to(at::kDouble), plane.slope);
    const at::Tensor expected = (slopes.unsqueeze(1) * (e / scale)).mean(0);
    EXPECT_TRUE(at::allclose(found.to(at::kDouble), expected, 1e-3, 1e-3));
}

// ZOAdam's scale is that of the dimensions which an estimate can have: those of the directions,
// less what P takes out of them.
TEST(Trainer, DimensionsLeftOutAreNotCounted) {
    const auto pictures = latents(3);
    TrainSettings s = settings();
    s.nu = 0.2;
    Bowl bowl;
    Trainer trainer = trainer_of(s, bowl, pictures, narrow_space());
    ZoAdam adam(width, {.learning_rate = s.learning_rate});
    Subspace subspace(s.tau, s.nu, width);
    at::Tensor theta = at::zeros({width});
    bool reduced = false;
    for (int step = 0; step < 30; ++step) {
        const Evaluation evaluation = trainer.evaluate();
        // Nothing outside of the directions.
        EXPECT_EQ(evaluation.gradient.view({2, 12}).slice(1, 5).abs().max().item<double>(), 0);
        const double kept = narrow_space().rank_without(subspace.state().projection);
        reduced = reduced || kept < 5.5;
        theta = adam.step(theta, subspace.project(evaluation.gradient),
                          width - std::max<std::int64_t>(1, std::lround(kept)), s.n);
        subspace.record(theta);
        trainer.advance(evaluation);
        EXPECT_TRUE(same_bits(trainer.theta(), theta)) << step;
    }
    EXPECT_TRUE(reduced);  // P did take some of the six
}

// What a run may be; each of them has state of its own.
std::vector<TrainSettings> kinds_of_run() {
    std::vector<TrainSettings> all(6, settings());
    all[1].average_steps = 40;
    all[1].learning_rate_schedule = LearningRateSchedule::cosine;
    all[2].method = Method{&estimator_named("spsa")};
    all[2].batch = 3;
    all[3].method = Method{&estimator_named("one_point")};
    all[3].timesteps = Timesteps::stratified;
    all[4].subspace = false;
    all[4].learning_rate_schedule = LearningRateSchedule::linear;
    all[5].method = exact_gradient;
    all[5].batch = 2;
    return all;
}

TEST(Trainer, AResumedRunHasTheBitsOfTheUnbrokenOne) {
    const auto file = std::filesystem::temp_directory_path() /
                      (std::to_string(getpid()) + "zoodip_trainer_test.safetensors");
    const auto pictures = latents(3);
    for (const TrainSettings& kind : kinds_of_run()) {
        ExactBowl bowl;
        Trainer unbroken = trainer_of(kind, bowl, pictures, narrow_space());
        while (unbroken.step() < 60) unbroken.advance(unbroken.evaluate());
        // Stops before the subspace exists, in the middle of a buffer, and just as it fills.
        for (const std::int64_t stop : {1, 7, 8, 9, 29, 59}) {
            Trainer first = trainer_of(kind, bowl, pictures, narrow_space());
            while (first.step() < stop) first.advance(first.evaluate());
            save_run(file, {first.state(), {{"run", 1}}});
            Trainer second = trainer_of(kind, bowl, pictures, narrow_space());
            const SavedRun saved = load_run(file);
            EXPECT_EQ(saved.identity, nlohmann::json({{"run", 1}}));
            second.restore(saved.state);
            while (second.step() < 60) second.advance(second.evaluate());
            EXPECT_TRUE(same_bits(second.theta(), unbroken.theta())) << "stopped at " << stop;
            EXPECT_TRUE(same_bits(second.word(), unbroken.word())) << "stopped at " << stop;
            EXPECT_TRUE(same_bits(second.state().v, unbroken.state().v));
            EXPECT_TRUE(same_bits(second.state().average, unbroken.state().average));
            if (!kind.subspace) continue;
            EXPECT_TRUE(same_bits(second.state().projection, unbroken.state().projection));
        }
    }
    std::filesystem::remove(file);
}

TEST(Trainer, RefusesTheStateOfAnotherWidth) {
    Bowl bowl;
    const auto pictures = latents(1);
    Trainer trainer = trainer_of(settings(), bowl, pictures);
    RunState state = trainer.state();
    state.theta = at::zeros({width + 1});
    EXPECT_THROW(trainer.restore(state), Error);
}

TEST(Trainer, AWordThatWouldNotStayFiniteDoesNotMove) {
    Bowl bowl;
    const auto pictures = latents(1);
    Trainer trainer = trainer_of(settings(), bowl, pictures);
    trainer.advance(trainer.evaluate());
    const at::Tensor before = trainer.theta().clone();
    const RunState state = trainer.state();
    Evaluation huge = trainer.evaluate();
    huge.gradient = at::full({width}, 3e38f);  // its square is infinite, and 0 * infinity none
    huge.gradient[0] = std::numeric_limits<float>::infinity();
    EXPECT_THROW(trainer.advance(huge), Error);
    EXPECT_TRUE(same_bits(trainer.theta(), before));
    EXPECT_TRUE(same_bits(trainer.state().m, state.m));
    EXPECT_TRUE(same_bits(trainer.state().v, state.v));
    EXPECT_EQ(trainer.step(), 1);
}

TEST(Trainer, RefusesALossThatIsNotFinite) {
    class Broken : public Objective {
        at::Tensor losses(const at::Tensor& thetas, const Sample&, LossForm) override {
            return at::full({thetas.size(0)}, std::nan(""), at::kDouble);
        }
    } broken;
    const auto pictures = latents(1);
    Trainer trainer = trainer_of(settings(), broken, pictures);
    EXPECT_THROW(trainer.evaluate(), Error);
}

TEST(RunState, NamesTheFirstDifference) {
    const nlohmann::json saved = {{"settings", {{"mu", 0.001}, {"seed", 1}}}, {"word", "sks"}};
    nlohmann::json asked = saved;
    EXPECT_NO_THROW(require_same_run(saved, asked, "run"));
    asked["settings"]["seed"] = 2;
    try {
        require_same_run(saved, asked, "run");
        FAIL() << "accepted";
    } catch (const Error& error) {
        const std::string message = error.what();
        EXPECT_NE(message.find("settings.seed was 1, now 2"), std::string::npos) << message;
    }
}

// A run that was begun before Adam's eps was a setting had the paper's.
TEST(RunState, KnowsTheEpsOfRunsThatDoNotSay) {
    const nlohmann::json saved = {{"settings", {{"seed", 1}}}};
    nlohmann::json asked = {{"settings", {{"seed", 1}, {"adam_eps", 1e-3}}}};
    EXPECT_NO_THROW(require_same_run(saved, asked, "run"));
    asked["settings"]["adam_eps"] = 1e-8;
    EXPECT_THROW(require_same_run(saved, asked, "run"), Error);
}

TEST(Settings, ComputeIsChosenForARunAndIsExactWithoutOne) {
    const auto compute = [](nlohmann::json chosen) { return resolve_settings(chosen).compute; };
    EXPECT_EQ(compute(nlohmann::json::object()), ComputeType::float32);
    EXPECT_EQ(compute({{"compute", "auto"}, {"weights", "int4"}}), ComputeType::float32);
    EXPECT_EQ(compute({{"compute", "bf16"}}), ComputeType::bfloat16);
    EXPECT_EQ(resolve_settings({{"compute", "bf16"}}).mu, 1e-2);
    EXPECT_EQ(resolve_settings(nlohmann::json::object()).mu, 1e-3);
}

TEST(ComputeChoice, IsTheLeastTimeToEqualQuality) {
    constexpr auto fp32 = ComputeType::float32, bf16 = ComputeType::bfloat16,
                   int8 = ComputeType::int8;
    const double of_bf16 = step_factor(bf16), of_int8 = step_factor(int8);
    EXPECT_EQ(step_factor(fp32), 1);
    EXPECT_EQ(quickest({{fp32, 1.0}, {bf16, 1.0}, {int8, 1.0}}), fp32);
    EXPECT_EQ(quickest({{fp32, 1.0}, {bf16, 0.99 / of_bf16}, {int8, 1.0}}), bf16);
    EXPECT_EQ(quickest({{fp32, 1.0}, {bf16, 0.9 / of_bf16}, {int8, 0.89 / of_int8}}), int8);
    EXPECT_EQ(quickest({{fp32, 1.0}, {bf16, 1.01 / of_bf16}}), fp32);
    EXPECT_EQ(quickest({}), fp32);
}

TEST(Settings, DefaultsFollowWidthAndComputeType) {
    Architecture narrow;
    narrow.encoders = {{.width = 128}};
    narrow.resolution = 128;
    const auto none = nlohmann::json::object();
    EXPECT_EQ(resolve_settings(none).tau, 128);
    EXPECT_EQ(resolve_settings(none, narrow).tau, 21);
    EXPECT_EQ(resolve_settings({{"tau", 40}}, narrow).tau, 40);
    EXPECT_EQ(resolve_settings({{"compute", "fp32"}}).mu, 1e-3);
    EXPECT_EQ(resolve_settings({{"compute", "bf16"}}).mu, 1e-2);
    EXPECT_EQ(resolve_settings({{"compute", "bf16"}, {"mu", 0.003}}).mu, 0.003);
    EXPECT_EQ(resolve_settings(none).resolution, 512);
    EXPECT_EQ(resolve_settings(none, narrow).resolution, 128);
    EXPECT_EQ(resolve_settings({{"resolution", 256}}, narrow).resolution, 256);
    EXPECT_THROW(resolve_settings({{"t_lower", 900}}), Error);
    EXPECT_EQ(resolve_settings(none).steps, 30000);
    EXPECT_EQ(resolve_settings(none).learning_rate, 5e-3);
    EXPECT_EQ(resolve_settings(none).adam_eps, 1e-3);
    EXPECT_EQ(resolve_settings({{"preset", "sdxl"}}).t_lower, 700);
    EXPECT_EQ(resolve_settings({{"preset", "sdxl"}, {"t_lower", 600}}).t_lower, 600);
    EXPECT_THROW(resolve_settings({{"mu", 1e-9}}), Error);
    EXPECT_THROW(resolve_settings({{"tau", 1}}), Error);
    EXPECT_THROW(resolve_settings({{"resolution", 56}}), Error);
    EXPECT_THROW(resolve_settings({{"n", 0}}), Error);
}

TEST(Settings, WhatIsChosenGoesBeforeThePresetEvenWhereItIsTheDefault) {
    EXPECT_EQ(resolve_settings({{"preset", "sdxl"}}).mu, 1e-2);
    EXPECT_EQ(resolve_settings({{"preset", "sdxl"}, {"mu", 0}}).mu, 1e-3);
    // The exact gradient has steps of its own, and what is chosen goes before those as well.
    EXPECT_EQ(resolve_settings({{"preset", "sdxl"}}).steps, 20000);
    EXPECT_EQ(resolve_settings({{"preset", "sdxl"}, {"method", "exact"}}).steps, 1000);
    EXPECT_EQ(resolve_settings({{"preset", "sdxl"}, {"method", "exact"}, {"steps", 7}}).steps, 7);
}

TEST(Settings, TheExactGradientHasValuesOfItsOwnUnlessThePapersAreAskedFor) {
    const TrainSettings own = resolve_settings({{"method", "exact"}});
    EXPECT_EQ(own.steps, 500);
    EXPECT_EQ(own.learning_rate, 0);  // a share of what the model's words are like
    EXPECT_EQ(own.learning_rate_schedule, LearningRateSchedule::inverse);
    EXPECT_EQ(own.adam_eps, 1e-8);
    EXPECT_FALSE(own.subspace);
    EXPECT_TRUE(resolve_settings({{"method", "exact"}, {"subspace", true}}).subspace);
    const TrainSettings paper = resolve_settings({{"method", "exact"}, {"preset", "paper"}});
    EXPECT_EQ(paper.steps, 1000);
    EXPECT_EQ(paper.learning_rate, 1e-2);
    EXPECT_EQ(paper.learning_rate_schedule, LearningRateSchedule::constant);
    EXPECT_EQ(paper.adam_eps, 1e-3);
    EXPECT_TRUE(paper.subspace);
}

TEST(Settings, FewPassesIsAPresetOfEstimates) {
    const TrainSettings few = resolve_settings({{"preset", "few_passes"}});
    EXPECT_EQ(few.directions, Directions::sensitive);
    EXPECT_EQ(few.slope, Slope::residual);
    EXPECT_EQ(few.n, 8);
    EXPECT_FALSE(few.subspace);
    EXPECT_EQ(few.steps, 300);
    EXPECT_EQ(few.learning_rate, 0);
    EXPECT_EQ(few.learning_rate_schedule, LearningRateSchedule::linear);
    EXPECT_EQ(few.adam_eps, 1e-8);
    EXPECT_EQ(resolve_settings({{"preset", "few_passes"}, {"n", 4}}).n, 4);
    // Without a loss at theta itself there is no residual to multiply with.
    EXPECT_EQ(resolve_settings({{"preset", "few_passes"}, {"method", "spsa"}}).slope, Slope::loss);
    // Its directions of a step are orthogonal.
    EXPECT_THROW(resolve_settings({{"preset", "few_passes"}, {"n", 33}}), Error);
    EXPECT_EQ(resolve_settings({{"preset", "few_passes"}, {"n", 32}}).n, 32);
    // What a family's model asks for it keeps; how fast the paper learned on it, not.
    Architecture sd2;
    sd2.preset = "sd21";
    EXPECT_EQ(resolve_settings({{"preset", "few_passes"}}, sd2).mu, 1e-2);
    EXPECT_EQ(resolve_settings({{"preset", "few_passes"}}, sd2).learning_rate, 0);
}

TEST(Settings, ThePapersPresetIsThatOfTheModelsFamily) {
    Architecture sd2;
    sd2.preset = "sd21";
    const auto rate = [&](const char* preset, const Architecture& of) {
        return resolve_settings({{"preset", preset}}, of).learning_rate;
    };
    EXPECT_EQ(rate("paper", {}), 5e-3);
    EXPECT_EQ(rate("paper", sd2), 1e-2);
    EXPECT_EQ(rate("auto", sd2), 1e-2);
    EXPECT_EQ(rate("sd15", sd2), 5e-3);
}

TEST(Settings, WhatIsOpenIsFoundAndNamedAsItWasGiven) {
    const AskedSettings asked = read_settings({{"method", "auto"}, {"compute", "auto"}});
    EXPECT_EQ(asked.values.method, std::nullopt);
    EXPECT_EQ(asked.values.compute, std::nullopt);
    EXPECT_EQ(asked.chosen, (std::set<std::string>{"compute", "method"}));
    const TrainSettings settings = fill_in(asked);
    EXPECT_EQ(settings.method, usual_estimate());
    EXPECT_EQ(settings.prediction, Prediction::epsilon);
    EXPECT_EQ(settings.beta_schedule, BetaKind::scaled_linear);
    const nlohmann::json named = get_fields(settings, train_setting_fields());
    EXPECT_EQ(named["method"], "rge");
    EXPECT_EQ(named["preset"], "auto");
    EXPECT_EQ(named["zero_snr"], "off");
    EXPECT_EQ(named["compute"], "fp32");
}

// All that is written into tokens and states is read back to the same.
TEST(Settings, EveryChoiceIsReadBackByItsName) {
    for (const auto& field : train_setting_fields()) {
        for (const std::string& name : field.choices) {
            TrainSettings settings;
            set_field(settings, field, name);
            EXPECT_EQ(get_field(settings, field), name) << field.name;
        }
    }
}

TEST(Settings, ContradictionsAreNamed) {
    const auto message = [](const nlohmann::json& chosen) -> std::string {
        try {
            resolve_settings(chosen);
            return "accepted";
        } catch (const Error& error) {
            return error.what();
        }
    };
    EXPECT_EQ(message({{"slope", "residual"}}), "accepted");
    for (const char* method : {"spsa", "one_point", "exact"}) {
        EXPECT_EQ(message({{"slope", "residual"}, {"method", method}}),
                  concat("slope: residual is defined for method rge, which looks at theta itself, "
                         "got method ",
                         method));
    }
    EXPECT_EQ(message({{"compute", "int8"}, {"weights", "int4"}}),
              "compute: int8 multiplies weights in int8, got weights int4");
    EXPECT_EQ(message({{"related_words", "dog"}, {"directions", "principal"}}),
              "related_words: is for directions related, got directions principal");
    EXPECT_EQ(message({{"take", "best"}, {"validate_every", 0}}),
              "take: best needs validate_every above 0, got 0");
}

}  // namespace
}  // namespace zoodip
