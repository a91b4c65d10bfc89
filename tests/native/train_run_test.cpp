// A run over a closed-form objective: what is written, told and decided from its first step to its
// last, and that a run which was stopped or killed anywhere ends as the unbroken one.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <set>
#include <string>
#include <unistd.h>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/log.h"
#include "io/atomic_file.h"
#include "train/run.h"
#include "words/token_file.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::int64_t width = 24;

// L(theta) = |theta - c|^2 / d + level, c depending on the sample.
class Bowl : public Objective {
  public:
    at::Tensor losses(const at::Tensor& thetas, const Sample& sample, LossForm) override {
        ++calls;
        const at::Tensor centre = 1 + 0.1 * at::cat({sample.eps, sample.eps}).flatten();
        const at::Tensor off = thetas.to(at::kDouble) - centre.slice(0, 0, width);
        return (off * off).mean(1) + level(calls);
    }
    std::int64_t calls = 0;
    // Added to a call's losses.
    std::function<double(std::int64_t)> level = [](std::int64_t) { return 0.0; };
};

// Keeps what it is told, and stops the run where `stop` says so.
class Listener : public PersonalizeObserver {
  public:
    void on_event(const json& event) override {
        events.push_back(event);
        if (stop(event)) cancel.cancel();
    }
    void on_preview(std::int64_t step, const at::Tensor& latents) override {
        previews.emplace_back(step, latents);
    }
    std::vector<json> events;
    std::vector<std::pair<std::int64_t, at::Tensor>> previews;
    std::function<bool(const json&)> stop = [](const json&) { return false; };
    CancelToken cancel;

    std::vector<std::int64_t> steps_of(const std::string& event) const {
        std::vector<std::int64_t> steps;
        for (const json& one : events) {
            if (one["event"] == event) steps.push_back(one["step"].get<std::int64_t>());
        }
        return steps;
    }
};

std::function<bool(const json&)> at_event(std::string name, std::int64_t step) {
    return [=](const json& event) { return event["event"] == name && event["step"] == step; };
}

std::vector<LatentPicture> three_pictures() {
    std::vector<LatentPicture> all;
    for (int i = 0; i < 3; ++i) {
        const at::Tensor mean = at::full({1, 4, 2, 2}, static_cast<double>(i));
        all.push_back({{{mean, at::zeros_like(mean)}, {mean, at::zeros_like(mean)}}});
    }
    return all;
}

class RunTest : public ::testing::Test {
  protected:
    RunTest() {
        fs::create_directories(folder);
        set_log_sink([this](LogLevel, const std::string& text) { warnings.push_back(text); });
        settings.steps = 60;
        settings.n = 2;
        settings.adam_eps = 1e-3;
        settings.learning_rate_schedule = LearningRateSchedule::constant;
        settings.subspace = true;
        settings.tau = 8;
        settings.mu = 1e-3;
        settings.learning_rate = 0.05;
        settings.validate_every = 7;
        settings.validation_samples = 2;
        settings.checkpoint_every = 5;
        settings.divergence = 0;
    }
    ~RunTest() override {
        set_log_sink({});
        fs::remove_all(folder);
    }

    Plan plan_of(const char* name, bool resume) const {
        Plan plan;
        plan.words = {{"sks", "dog", {}}};
        plan.settings = settings;
        plan.output = {folder / name, resume, false, log, previews};
        plan.layout.add("sks", "clip_l", 1, width);
        plan.load.fingerprint = std::make_shared<Sha256>();
        plan.load.cancel = listener.cancel;
        return plan;
    }
    PersonalizeResult go(const char* name, bool resume = false) {
        bowl.calls = 0;
        const Plan plan = plan_of(name, resume);
        const TimestepPlan timesteps(Timesteps::puts, 500, 900, plan.schedule);
        Trainer trainer(settings, bowl, {pictures, timesteps, 0.5, 3}, DirectionSpace(width),
                        at::zeros({width}));
        const Validation validation(bowl, Validation::samples(pictures, settings, plan.schedule),
                                    settings.validation_samples, plan.load.cancel);
        const auto draw = [&](const at::Tensor& word) {
            plan.load.cancel.check();
            return word.slice(0, 0, 16).reshape({1, 4, 2, 2}).clone();
        };
        const auto decode = [](const at::Tensor& latents) {
            return latents.slice(1, 0, 3).repeat({1, 1, 8, 8}).clamp(-1, 1);
        };
        return zoodip::Run(plan, trainer, validation, {draw, decode}, listener).execute();
    }
    // Another process, which knows nothing of the one before.
    void forget() { listener = Listener(); }

    std::string failure_of(const char* name, bool resume = false) {
        try {
            go(name, resume);
        } catch (const Error& error) {
            return error.what();
        }
        ADD_FAILURE() << "the run did not break";
        return "";
    }
    std::vector<std::byte> bytes(const std::string& name) const {
        return read_file(folder / name, 1 << 20);
    }
    std::set<std::string> names() const {
        std::set<std::string> all;
        for (const auto& entry : fs::directory_iterator(folder)) {
            all.insert(entry.path().filename().string());
        }
        return all;
    }

    const fs::path folder = fs::temp_directory_path() / (std::to_string(getpid()) + "zoodip_run");
    const std::vector<LatentPicture> pictures = three_pictures();
    TrainSettings settings;
    fs::path log = {}, previews = {};
    Bowl bowl;
    Listener listener;
    std::vector<std::string> warnings;
};

using Names = std::set<std::string>;
const Names all_of_a = {"a.safetensors", "a.best.safetensors", "a.state.safetensors"};

// -------------------------------------------------------------------------------- from end to end

TEST_F(RunTest, TellsWhatHappensAtWhichStep) {
    settings.preview_every = 20;
    const PersonalizeResult result = go("a.safetensors");
    EXPECT_TRUE(result.finished);
    EXPECT_EQ(result.steps, 60);
    EXPECT_EQ(listener.events.front()["event"], "start");
    EXPECT_EQ(listener.events.front()["run"]["settings"]["steps"], 60);
    EXPECT_EQ(listener.events.back()["event"], "end");
    EXPECT_EQ(listener.steps_of("step").size(), 60u);
    EXPECT_EQ(listener.steps_of("validation"),
              (std::vector<std::int64_t>{0, 7, 14, 21, 28, 35, 42, 49, 56, 60}));
    EXPECT_EQ(listener.steps_of("checkpoint"),
              (std::vector<std::int64_t>{5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55}));
    ASSERT_EQ(listener.previews.size(), 3u);  // to the observer alone: no folder was named
    EXPECT_EQ(listener.previews.back().first, 60);
    EXPECT_TRUE(listener.steps_of("preview").empty());
    EXPECT_EQ(names(), all_of_a);
}

TEST_F(RunTest, CountsThePassesOfItsSteps) {
    const std::vector<std::pair<std::string, std::int64_t>> methods = {
        {"rge", 3}, {"spsa", 4}, {"one_point", 3}};
    for (const auto& [method, each] : methods) {
        settings.method = Method{&estimator_named(method)};
        settings.batch = 2;
        forget();
        const PersonalizeResult result = go((method + ".safetensors").c_str());
        EXPECT_EQ(result.forward_passes, 60 * 2 * each) << method;
        EXPECT_EQ(result.backward_passes, 0);
        EXPECT_EQ(listener.events.front()["forward_passes_a_step"], 2 * each);
        std::int64_t step = 0;
        for (const json& event : listener.events) {
            if (event["event"] != "step") continue;
            EXPECT_EQ(event["forward_passes"], ++step * 2 * each);
            EXPECT_EQ(event["backward_passes"], 0);
        }
    }
}

TEST_F(RunTest, TheBestWordIsThatOfTheLowestValidationLoss) {
    settings.learning_rate_schedule = LearningRateSchedule::constant;
    settings.learning_rate = 0.4;  // too much to stay at the bottom
    const PersonalizeResult result = go("a.safetensors");
    double lowest = std::numeric_limits<double>::infinity();
    std::int64_t step = 0;
    for (const json& event : listener.events) {
        if (event["event"] != "validation" || event["step"] == 0) continue;
        const double loss = event["loss"].get<double>();
        EXPECT_EQ(event["best"].get<bool>(), loss < lowest);
        if (loss < lowest) {
            lowest = loss;
            step = event["step"].get<std::int64_t>();
        }
    }
    EXPECT_LT(step, 60);
    EXPECT_EQ(result.best_step, step);
    EXPECT_EQ(result.best_loss, lowest);
    const TokenFile best = read_token(result.best), last = read_token(result.token);
    EXPECT_EQ(best.metadata.at("step"), std::to_string(step));
    EXPECT_EQ(json::parse(best.metadata.at("validation_loss")).get<double>(), lowest);
    EXPECT_EQ(last.metadata.at("step"), "60");
    EXPECT_FALSE(at::equal(best.vectors.at("clip_l"), last.vectors.at("clip_l")));
}

// The start is what the others are compared with, and no word that was learned.
TEST_F(RunTest, TheFixedSamplesAreLookedAtBeforeTheWordMoves) {
    settings.steps = 20;
    settings.early_stop = 1;
    settings.learning_rate = 1e-8;  // nothing moves, and losses rise
    bowl.level = [](std::int64_t call) { return 1e-3 * static_cast<double>(call); };
    const PersonalizeResult result = go("a.safetensors");
    const auto validations = listener.steps_of("validation");
    EXPECT_EQ(validations.front(), 0);
    EXPECT_EQ(result.best_step, 7);  // the first that was learned, though the start was better
    for (const json& event : listener.events) {
        if (event["event"] != "validation") continue;
        EXPECT_EQ(event["best"].get<bool>(), event["step"] == 7) << event;
        if (event["step"] == 0) {
            EXPECT_LT(event["loss"].get<double>(), result.best_loss);
        }
    }
    EXPECT_EQ(result.steps, 14);  // one that brought nothing better
}

TEST_F(RunTest, ForetellsTheWholeRunBeforeTheWordMoves) {
    go("a.safetensors");
    const auto of = [](const json& event) { return event["event"].get<std::string>(); };
    ASSERT_EQ(of(listener.events[1]), "forecast");
    EXPECT_EQ(listener.events[1]["step"], 0);
    const double each = listener.events[1]["seconds_a_step"].get<double>();
    // Sixty steps of three passes, and ten looks at two samples.
    EXPECT_NEAR(listener.events[1]["seconds_left"].get<double>() / each, 60 + 10 * 2 / 3.0, 1e-6);
    EXPECT_EQ(of(listener.events[2]), "validation");
}

TEST_F(RunTest, WhatIsLeftIsForetoldOfARunThatGoesOn) {
    listener.stop = at_event("step", 40);
    go("a.safetensors");
    forget();
    go("a.safetensors", true);
    ASSERT_EQ(listener.steps_of("forecast"), (std::vector<std::int64_t>{40}));
    const json& told = listener.events[1];
    EXPECT_NEAR(told["seconds_left"].get<double>() / told["seconds_a_step"].get<double>(),
                20 + 4 * 2 / 3.0, 1e-6);  // at 42, 49, 56 and 60
}

TEST_F(RunTest, WithoutValidationThereIsNoBestWord) {
    settings.validate_every = 0;
    EXPECT_TRUE(go("a.safetensors").best.empty());
    EXPECT_EQ(names(), (Names{"a.safetensors", "a.state.safetensors"}));
}

TEST_F(RunTest, NeitherValidationNorPreviewsNorStatesNorTheLogChangeTheWord) {
    settings.validate_every = 0;
    settings.checkpoint_every = 1000;
    go("plain.safetensors");
    forget();
    settings.validate_every = 3;
    settings.checkpoint_every = 2;
    settings.preview_every = 4;
    log = folder / "log";
    previews = folder / "previews";
    go("all.safetensors");
    EXPECT_TRUE(at::equal(read_token(folder / "plain.safetensors").vectors.at("clip_l"),
                          read_token(folder / "all.safetensors").vectors.at("clip_l")));
}

// -------------------------------------------------------------------------- stopping and going on

struct Stop {
    const char* event;
    std::int64_t step;
};

class StoppedRunTest : public RunTest, public ::testing::WithParamInterface<Stop> {};

// Wherever a run is stopped, in a step, in a validation, in a preview or at a checkpoint: it goes
// on as if it had never stopped.
TEST_P(StoppedRunTest, EndsAsTheUnbrokenOne) {
    settings.average_steps = 30;
    settings.learning_rate_schedule = LearningRateSchedule::cosine;
    settings.preview_every = 10;
    go("a.safetensors");
    const auto last = bytes("a.safetensors"), best = bytes("a.best.safetensors");
    fs::remove(folder / "a.safetensors");
    const auto validations = listener.steps_of("validation");
    forget();
    listener.stop = at_event(GetParam().event, GetParam().step);
    PersonalizeResult result = go("a.safetensors");
    ASSERT_FALSE(result.finished);
    EXPECT_EQ(listener.events.back()["event"], "stop");
    EXPECT_EQ(result.steps, GetParam().step);
    const auto before = listener.steps_of("validation");
    forget();
    result = go("a.safetensors", true);
    EXPECT_TRUE(result.finished);
    EXPECT_EQ(result.forward_passes, 60 * 3);
    EXPECT_EQ(bytes("a.safetensors"), last);
    EXPECT_EQ(bytes("a.best.safetensors"), best);
    auto all = before;
    for (const std::int64_t step : listener.steps_of("validation")) all.push_back(step);
    EXPECT_EQ(all, validations);  // each once
    EXPECT_EQ(names(), all_of_a);
}

INSTANTIATE_TEST_SUITE_P(Anywhere, StoppedRunTest,
                         ::testing::Values(Stop{"step", 1}, Stop{"step", 8}, Stop{"step", 14},
                                           Stop{"validation", 14}, Stop{"step", 10},
                                           Stop{"checkpoint", 10}, Stop{"checkpoint", 35},
                                           Stop{"step", 31}, Stop{"step", 59}, Stop{"step", 60}));

TEST_F(RunTest, AStopBeforeTheFirstStepWritesNothing) {
    listener.stop = at_event("start", 0);
    EXPECT_THROW(go("a.safetensors"), Cancelled);
    EXPECT_TRUE(names().empty());
}

TEST_F(RunTest, AStopRightAfterGoingOnKeepsTheState) {
    listener.stop = at_event("step", 12);
    go("a.safetensors");
    forget();
    listener.stop = at_event("start", 12);
    EXPECT_EQ(go("a.safetensors", true).steps, 12);
    forget();
    EXPECT_EQ(go("a.safetensors", true).steps, 60);
}

// ------------------------------------------------------------------------------- more steps

TEST_F(RunTest, AFinishedRunGoesOnToMoreStepsAndEndsAsOneOfSoManyFromTheStart) {
    settings.average_steps = 15;
    go("a.safetensors");
    const auto last = bytes("a.safetensors");
    forget();
    settings.steps = 40;
    go("b.safetensors");
    forget();
    settings.steps = 60;
    const PersonalizeResult result = go("b.safetensors", true);
    EXPECT_TRUE(result.finished);
    EXPECT_EQ(listener.events.front()["step"], 40);
    EXPECT_EQ(listener.steps_of("step").size(), 20u);
    EXPECT_EQ(result.forward_passes, 60 * 3);
    EXPECT_EQ(bytes("b.safetensors"), last);
}

TEST_F(RunTest, AStoppedRunMayEndEarlierOrLaterThanItWasTo) {
    for (const std::int64_t steps : {30, 90}) {
        settings.steps = steps;
        go("a.safetensors");
        const auto last = bytes("a.safetensors");
        fs::remove_all(folder);
        fs::create_directories(folder);
        settings.steps = 60;
        forget();
        listener.stop = at_event("step", 22);
        go("a.safetensors");
        forget();
        settings.steps = steps;
        EXPECT_EQ(go("a.safetensors", true).steps, steps);
        EXPECT_EQ(bytes("a.safetensors"), last);
        fs::remove_all(folder);
        fs::create_directories(folder);
        forget();
    }
}

TEST_F(RunTest, AFinishedRunThatIsAskedForNoMoreEndsAtOnceAsItIs) {
    go("a.safetensors");
    const auto last = bytes("a.safetensors"), best = bytes("a.best.safetensors");
    forget();
    EXPECT_TRUE(go("a.safetensors", true).finished);
    EXPECT_TRUE(listener.steps_of("step").empty());
    EXPECT_EQ(bytes("a.safetensors"), last);
    EXPECT_EQ(bytes("a.best.safetensors"), best);
    ASSERT_EQ(warnings.size(), 1u);
    EXPECT_NE(warnings[0].find("the 60 steps are done already"), std::string::npos);
}

// What of the steps was another run from the first step on is refused, and nothing is touched.
TEST_F(RunTest, StepsThatMakeAnotherRunAreRefusedByName) {
    const auto refused = [&](const char* part) {
        const auto last = bytes("a.safetensors"), state = bytes("a.state.safetensors");
        forget();
        const std::string message = failure_of("a.safetensors", true);
        EXPECT_NE(message.find(part), std::string::npos) << message << "\nlacks " << part;
        EXPECT_EQ(bytes("a.safetensors"), last);
        EXPECT_EQ(bytes("a.state.safetensors"), state);
    };
    go("a.safetensors");
    settings.steps = 59;
    refused("is at step 60 already; ask for at least as many, got 59");
    settings.steps = 60;
    settings.learning_rate_schedule = LearningRateSchedule::cosine;
    fs::remove(folder / "a.state.safetensors");
    forget();
    go("a.safetensors");
    settings.steps = 80;
    refused("falls over all of its 60 steps (learning_rate_schedule cosine)");
    settings.steps = 60;
    settings.learning_rate_schedule = LearningRateSchedule::constant;
    settings.average_steps = 30;
    fs::remove(folder / "a.state.safetensors");
    forget();
    go("a.safetensors");
    settings.steps = 80;
    refused("behind step 50, and the run");
    refused("Ask for at least 90 steps");
    settings.steps = 90;
    forget();
    EXPECT_TRUE(go("a.safetensors", true).finished);
}

// ------------------------------------------------------------------------------- the best word

TEST_F(RunTest, TheBestWordCanBeTakenInPlaceOfTheLast) {
    settings.learning_rate = 0.4;  // too much to stay at the bottom
    go("last.safetensors");
    forget();
    settings.take = Take::best;
    const PersonalizeResult result = go("a.safetensors");
    EXPECT_EQ(result.steps, 60);
    ASSERT_LT(result.best_step, 60);
    EXPECT_EQ(result.word_step, result.best_step);
    const TokenFile token = read_token(result.token), best = read_token(result.best);
    EXPECT_TRUE(at::equal(token.vectors.at("clip_l"), best.vectors.at("clip_l")));
    EXPECT_EQ(token.metadata.at("step"), std::to_string(result.best_step));
    EXPECT_EQ(token.metadata.at("run_step"), "60");
    EXPECT_EQ(finished_step(result.token), 60);
    // It goes on from the last word, not from the one that was taken.
    forget();
    settings.take = Take::last;
    go("a.safetensors", true);
    EXPECT_EQ(bytes("a.safetensors"), bytes("last.safetensors"));
}

TEST_F(RunTest, AStoppedRunGivesItsBestWordAndGoesOnFromItsLast) {
    settings.learning_rate = 0.4;
    settings.take = Take::best;
    go("a.safetensors");
    const auto whole = bytes("a.safetensors");
    fs::remove_all(folder);
    fs::create_directories(folder);
    forget();
    listener.stop = at_event("step", 55);
    const PersonalizeResult stopped = go("a.safetensors");
    ASSERT_LT(stopped.word_step, 55);
    EXPECT_EQ(stopped.word_step, stopped.best_step);
    EXPECT_EQ(read_token(stopped.token).metadata.at("step"), std::to_string(stopped.best_step));
    forget();
    go("a.safetensors", true);
    EXPECT_EQ(bytes("a.safetensors"), whole);
}

// ------------------------------------------------------------------------------- stopping early

TEST_F(RunTest, StopsEarlyWhenValidationBringsNothingBetter) {
    settings.early_stop = 2;
    settings.learning_rate = 1e-8;  // nothing moves, and losses rise
    bowl.level = [](std::int64_t call) { return 1e-3 * static_cast<double>(call); };
    const PersonalizeResult result = go("a.safetensors");
    EXPECT_TRUE(result.finished);
    EXPECT_EQ(result.best_step, 7);
    EXPECT_EQ(result.steps, 21);
    EXPECT_EQ(result.forward_passes, 21 * 3);
    EXPECT_EQ(listener.steps_of("step").size(), 21u);
    EXPECT_EQ(names(), all_of_a);
}

// A process may end between the validation that says enough and the run's end: no step is made
// after that.
TEST_F(RunTest, ARunThatHadEnoughTakesNoFurtherStepWhenItGoesOn) {
    settings.early_stop = 1;
    settings.learning_rate = 1e-8;
    bowl.level = [](std::int64_t call) { return 1e-3 * static_cast<double>(call); };
    settings.checkpoint_every = 7;
    settings.preview_every = 7;
    const PersonalizeResult whole = go("a.safetensors");
    const auto last = bytes("a.safetensors");
    fs::remove(folder / "a.safetensors");
    forget();
    listener.stop = at_event("checkpoint", whole.steps);  // stops in the preview after it
    EXPECT_FALSE(go("a.safetensors").finished);
    forget();
    EXPECT_EQ(go("a.safetensors", true).steps, whole.steps);
    EXPECT_TRUE(listener.steps_of("step").empty());
    EXPECT_EQ(bytes("a.safetensors"), last);
}

// --------------------------------------------------------------------------------- what breaks

// From a step on, counted in calls without validation.
std::function<double(std::int64_t)> from_step(std::int64_t step, double value) {
    return [=](std::int64_t call) { return call > step ? value : 0.0; };
}

TEST_F(RunTest, ALossThatIsNotFiniteEndsTheRunAndKeepsWhatWasLearned) {
    settings.validate_every = 0;
    bowl.level = from_step(33, std::nan(""));
    const std::string message = failure_of("a.safetensors");
    EXPECT_NE(message.find("step 34: the loss is not finite"), std::string::npos) << message;
    EXPECT_NE(message.find("The word as of step 33 is kept"), std::string::npos) << message;
    EXPECT_EQ(listener.events.back()["event"], "failure");
    EXPECT_EQ(listener.events.back()["step"], 33);
    EXPECT_EQ(read_token(folder / "a.safetensors").metadata.at("step"), "33");
    // With the cause gone, the run goes on from there.
    bowl.level = from_step(0, 0);
    forget();
    EXPECT_TRUE(go("a.safetensors", true).finished);
    const auto mended = bytes("a.safetensors");
    forget();
    fs::remove(folder / "a.safetensors");
    go("a.safetensors");
    EXPECT_EQ(bytes("a.safetensors"), mended);
}

TEST_F(RunTest, ALossThatIsNotFiniteAtOnceWritesNothing) {
    bowl.level = from_step(0, std::nan(""));
    const std::string message = failure_of("a.safetensors");
    EXPECT_NE(message.find("step 1: the loss is not finite"), std::string::npos) << message;
    EXPECT_TRUE(names().empty());
}

TEST_F(RunTest, ADivergingLossEndsTheRunWithTheLastSoundWord) {
    settings.divergence = 3;
    settings.steps = 200;
    settings.validate_every = 10;
    settings.validation_samples = 1;
    // Validation calls count as well: the loss rises from call 105 on, near step 94.
    bowl.level = from_step(104, 1e4);
    const std::string message = failure_of("a.safetensors");
    EXPECT_NE(message.find("the loss diverges"), std::string::npos) << message;
    EXPECT_NE(message.find("The word as of step 94 is kept"), std::string::npos) << message;
    EXPECT_EQ(listener.events.back()["event"], "failure");
    EXPECT_EQ(read_token(folder / "a.safetensors").metadata.at("step"), "94");
    EXPECT_EQ(names(), (Names{"a.safetensors", "a.best.safetensors"}));
    const json best = json::parse(read_token(folder / "a.best.safetensors").metadata.at("step"));
    EXPECT_LE(best.get<std::int64_t>(), 90);
}

// The word from before the losses rose is part of the state: it does not matter that the process
// was another.
TEST_F(RunTest, ADivergingRunThatWentOnKeepsTheSameWord) {
    settings.divergence = 100;
    settings.steps = 200;
    settings.validate_every = 0;
    bowl.level = [](std::int64_t call) { return call > 80 ? double(call - 80) : 0.0; };
    const std::string message = failure_of("a.safetensors");
    const auto word = bytes("a.safetensors");
    const std::int64_t last = listener.events.back()["step"].get<std::int64_t>();
    fs::remove(folder / "a.safetensors");
    forget();
    listener.stop = at_event("step", last - 2);
    go("a.safetensors");
    forget();
    const auto level = bowl.level;
    bowl.level = [=](std::int64_t call) { return level(call + last - 2); };
    EXPECT_EQ(failure_of("a.safetensors", true), message);
    EXPECT_EQ(bytes("a.safetensors"), word);
}

TEST_F(RunTest, AnExceptionOfTheObserverKeepsWhatWasLearned) {
    listener.stop = [](const json& event) {
        if (event["event"] == "step" && event["step"] == 9) throw std::runtime_error("no more");
        return false;
    };
    EXPECT_EQ(failure_of("a.safetensors"),
              "step 9: no more. The word as of step 9 is kept in " +
                  (folder / "a.safetensors").string() +
                  "; the same command with `resume` goes on from there");
    forget();
    EXPECT_TRUE(go("a.safetensors", true).finished);
}

// ------------------------------------------------------------------------------------- previews

TEST_F(RunTest, PreviewsArePicturesNamedByTheirStep) {
    settings.preview_every = 25;
    previews = folder / "deep" / "previews";
    go("a.safetensors");
    EXPECT_EQ(listener.steps_of("preview"), (std::vector<std::int64_t>{25, 50}));
    for (const char* name : {"000025.png", "000050.png"}) {
        EXPECT_GT(fs::file_size(previews / name), 50u);
    }
    const json& told = listener.events.at(listener.events.size() - 1);
    EXPECT_EQ(told["event"], "end");
}

TEST_F(RunTest, APreviewThatCannotBeWrittenDoesNotEndTheRun) {
    settings.preview_every = 25;
    previews = folder / "a.safetensors" / "previews";  // the folder's name is that of a file
    EXPECT_TRUE(go("a.safetensors").finished);
    ASSERT_EQ(warnings.size(), 2u);
    EXPECT_NE(warnings[0].find("the training goes on"), std::string::npos) << warnings[0];
    EXPECT_EQ(listener.previews.size(), 2u);
}

}  // namespace
}  // namespace zoodip
