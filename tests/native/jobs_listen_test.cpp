// What a page is told of jobs while they run, and stopping all of graphs.
#include <atomic>
#include <chrono>
#include <cmath>
#include <limits>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "graph_jobs.h"
#include "in_threads.h"

#include "core/json.h"

namespace zoodip {
namespace {

using nlohmann::json;
using Words = std::vector<std::string>;
using std::chrono::milliseconds;

// So seldom that only what is told at once is told.
constexpr milliseconds never{3'600'000};
constexpr double nan = std::numeric_limits<double>::quiet_NaN();

class JobsListenTest : public ::testing::Test {
  protected:
    void start(milliseconds told) {
        jobs_ = std::make_unique<Jobs>(root.path(), runner, JobLimits{.told = told});
        jobs_->listen([this](const json& view) {
            if (fails) throw std::runtime_error("the page is gone");
            const std::lock_guard lock(mutex_);
            told_.push_back(json::parse(view.dump()));  // as a page gets it
        });
    }
    Jobs& jobs() {
        if (jobs_ == nullptr) start(never);
        return *jobs_;
    }
    std::vector<json> told() const {
        const std::lock_guard lock(mutex_);
        return told_;
    }
    json last() const { return told().back(); }
    // "STATE STAGE" of each call.
    Words changes() const {
        Words changes;
        for (const json& view : told()) {
            changes.push_back(view["state"].get<std::string>() + " " +
                              view["stage"].get<std::string>());
        }
        return changes;
    }
    // The steps of all points, in the order in which they were told.
    std::vector<std::int64_t> steps() const {
        std::vector<std::int64_t> steps;
        for (const json& view : told()) {
            for (const json& point : view["points"]) steps.push_back(point[0]);
        }
        return steps;
    }
    static void learn(GraphJob& job, std::int64_t first, std::int64_t last_one) {
        for (std::int64_t step = first; step <= last_one; ++step) {
            const auto loss = static_cast<double>(step);
            job.on_step(step, 3000, loss / 8, loss / 16);
        }
    }

    TemporaryFolder root;
    std::shared_ptr<FakeRunner> runner = std::make_shared<FakeRunner>();
    std::atomic<bool> fails = false;

  private:
    mutable std::mutex mutex_;
    std::vector<json> told_;
    std::unique_ptr<Jobs> jobs_;
};

std::vector<std::int64_t> counted(std::int64_t first, std::int64_t last) {
    std::vector<std::int64_t> numbers;
    for (std::int64_t number = first; number <= last; ++number) numbers.push_back(number);
    return numbers;
}

TEST_F(JobsListenTest, HearsAllThatAPageShows) {
    const auto job = jobs().begin({"12", "w", "p", 0}, "sks", 3000);
    job->on_stage("loading the UNet");
    ASSERT_EQ(told().size(), 1u);
    json expected = jobs().view(id_of(job)).value();  // before it has a key
    expected["points"] = expected["validations"] = json::array();
    EXPECT_EQ(last(), expected);
    EXPECT_EQ(last()["state"], "running");
    EXPECT_EQ(last()["stage"], "loading the UNet");
    EXPECT_EQ(last()["word"], "sks");
    EXPECT_EQ(last()["steps"], 3000);
    EXPECT_EQ(last()["reused"], false);
    for (const char* name : {"speed", "seconds_left", "foretold", "loss", "preview", "best_step"}) {
        EXPECT_TRUE(last()[name].is_null()) << name;
    }
    EXPECT_EQ(last()["graph"]["node"], "12");
    const std::string key = new_key();
    job->name(named("sks", key, 3000));
    job->on_stage("looking for what was learned before");
    EXPECT_EQ(last()["id"], key);
    EXPECT_EQ(last()["state"], "running");
}

TEST_F(JobsListenTest, HearsEveryChangeOfStateAndStageAtOnce) {
    const auto job = jobs().begin(some_place, "g", 10);
    job->on_stage("checking");
    job->name(named("g", new_key()));
    job->start();
    ASSERT_TRUE(job->wait(patience));
    for (const char* stage : {"loading the UNet", "learning"}) job->on_stage(stage);
    job->on_step(1, 10, 1, 1);
    job->preview(1, "a jpeg");
    job->end(JobState::interrupted, "Kept.");
    EXPECT_EQ(changes(), Words({"running checking", "queued ", "running ",
                                "running loading the UNet", "running learning", "interrupted "}));
    EXPECT_EQ(last()["points"].dump(), "[[1,1.0,1.0]]");
    EXPECT_EQ(last()["preview"]["step"], 1);
    EXPECT_EQ(last()["message"], "Kept.");
    EXPECT_TRUE(last()["seconds_left"].is_null());
    job->end(JobState::failed, "once more");
    EXPECT_EQ(told().size(), 6u);
}

TEST_F(JobsListenTest, HearsOfOneThatNeverGotAKey) {
    jobs().begin(some_place, "g", 10)->end(JobState::failed, "captions: are missing");
    ASSERT_EQ(changes(), Words({"failed "}));
    EXPECT_EQ(last()["message"], "captions: are missing");
}

TEST_F(JobsListenTest, HearsEachPointOnce) {
    start(milliseconds(0));
    const auto job = train(jobs(), "g");
    learn(*job, 1, 1000);
    job->end(JobState::finished, "");
    EXPECT_EQ(steps(), counted(1, 1000));
    for (const json& view : told()) {
        for (const json& point : view["points"]) {
            EXPECT_EQ(point[1], point[0].get<double>() / 8);
            EXPECT_EQ(point[2], point[0].get<double>() / 16);
        }
    }
}

TEST_F(JobsListenTest, HearsSoOftenAndNoMore) {
    constexpr milliseconds every{20};
    start(every);
    const auto job = train(jobs(), "g");
    const std::size_t before = told().size();
    const auto began = std::chrono::steady_clock::now();
    std::int64_t step = 0;
    ASSERT_TRUE(eventually([&] {
        learn(*job, step + 1, step + 10);
        step += 10;
        return told().size() >= before + 5;
    }));
    const auto took = std::chrono::steady_clock::now() - began;
    const auto calls = static_cast<std::int64_t>(told().size() - before);
    EXPECT_LE((calls - 1) * every, took);  // the first may come at once
    EXPECT_LT(calls, step);
    job->end(JobState::finished, "");
    EXPECT_EQ(steps(), counted(1, step));
}

TEST_F(JobsListenTest, HearsOfAStepThatIsDoneAgain) {
    start(milliseconds(0));
    const auto job = train(jobs(), "g");
    learn(*job, 1, 5);
    learn(*job, 4, 6);
    EXPECT_EQ(steps(), (std::vector<std::int64_t>{1, 2, 3, 4, 5, 4, 5, 6}));
    EXPECT_EQ(jobs().curve(id_of(job)).steps().size(), 6u);
}

TEST_F(JobsListenTest, GetsThePointsLaterWhereItFails) {
    start(milliseconds(0));
    const auto job = train(jobs(), "g");
    fails = true;
    learn(*job, 1, 3);
    job->on_stage("validating");
    fails = false;
    job->end(JobState::finished, "");
    EXPECT_EQ(job->job().state, JobState::finished);
    EXPECT_EQ(steps(), counted(1, 3));
}

TEST_F(JobsListenTest, MayLookAtTheJobs) {
    std::atomic<int> looked = 0;
    jobs().listen([&](const json& view) {
        const std::string id = view["id"];
        jobs().list();
        jobs().view_with_curve(id);
        jobs().shown_at("w", "1");
        ++looked;
    });
    train_to_end(jobs(), "g");
    EXPECT_GT(looked, 0);
    jobs().listen(nullptr);
    const int before = looked;
    train_to_end(jobs(), "h");
    EXPECT_EQ(looked, before);
}

TEST_F(JobsListenTest, HasNullForNumbersThatAreNotFinite) {
    start(milliseconds(0));
    const auto job = train(jobs(), "g");
    for (const double bad : {nan, HUGE_VAL, -HUGE_VAL}) {
        job->on_step(1, 10, bad, 2.0);
        EXPECT_EQ(last()["points"].dump(), "[[1,null,2.0]]");
        EXPECT_TRUE(last()["loss"].is_null());
    }
    job->on_step(2, 10, 3.0, nan);
    EXPECT_EQ(last()["loss"], 3.0);
    EXPECT_TRUE(last()["smooth_loss"].is_null());
    job->on_forecast(nan, HUGE_VAL);
    EXPECT_TRUE(last()["foretold"].is_null());
}

TEST_F(JobsListenTest, HearsTheLossOfTheFixedSamplesFromTheStartOn) {
    const auto job = train(jobs(), "g");
    job->on_validation(0, 1.5, false);
    EXPECT_EQ(last()["validations"].dump(), "[[0,1.5]]");  // a curve begins with its first dot
    const std::size_t before = told().size();
    job->on_validation(2, nan, false);
    job->on_validation(2, 1.25, true);  // done again
    EXPECT_EQ(told().size(), before);
    job->on_stage("learning");
    EXPECT_EQ(last()["validations"].dump(), "[[0,1.5],[2,1.25]]");  // all of them
    EXPECT_EQ(last()["best_step"], 2);
    for (std::int64_t step = 3; step < 2000; ++step) {
        job->on_validation(step, step == 777 ? 0.01 : 1.0, false);
    }
    job->end(JobState::finished, "");
    EXPECT_LE(last()["validations"].size(), 400u);
    EXPECT_EQ(last()["best_step"], 2);
}

TEST_F(JobsListenTest, HearsTheTimeThatItTakesAsSoonAsItIsKnown) {
    const auto job = train(jobs(), "g");
    job->on_stage("timing one step");
    const std::size_t before = told().size();
    job->on_forecast(0.5, 60.0);
    ASSERT_EQ(told().size(), before + 1);
    EXPECT_EQ(last()["foretold"], 60.0);
    EXPECT_EQ(last()["speed"], 2.0);
    EXPECT_EQ(last()["seconds_left"], 5.0);  // of ten steps
    job->on_step(4, 10, 1, 1);
    job->on_stage("validating");
    EXPECT_EQ(last()["foretold"], 60.0);
    EXPECT_EQ(last()["seconds_left"], 3.0);
    job->end(JobState::finished, "");
    for (const char* name : {"speed", "seconds_left", "foretold"}) {
        EXPECT_TRUE(last()[name].is_null()) << name;
    }
}

TEST_F(JobsListenTest, HearsWhatItMultipliesIn) {
    const auto job = train(jobs(), "g");
    job->on_compute("int8", "compute auto takes int8: it is the quickest");
    job->on_passes(3);
    job->on_start(0, 12);
    job->on_stage("learning");
    EXPECT_EQ(last()["compute"], "int8");
    EXPECT_EQ(last()["compute_choice"], "compute auto takes int8: it is the quickest");
    EXPECT_EQ(last()["passes"], 3);
    EXPECT_EQ(last()["steps"], 12);
}

TEST_F(JobsListenTest, HearsAllOfOneThatIsReused) {
    const std::string key = new_key();
    {
        const auto job = train(jobs(), "g", key);
        learn(*job, 1, 10);
        job->on_validation(10, 1, true);
        job->end(JobState::finished, "");
    }
    const std::size_t before = told().size();
    const auto job = jobs().begin(some_place, "g", 10);
    job->name(named("g", key));
    job->reuse();
    ASSERT_EQ(told().size(), before + 1);
    EXPECT_EQ(last()["id"], key);
    EXPECT_EQ(last()["state"], "finished");
    EXPECT_EQ(last()["reused"], true);
    EXPECT_EQ(last()["points"].size(), 10u);
    EXPECT_EQ(last()["validations"].size(), 1u);
    EXPECT_EQ(last()["step"], 10);
}

TEST_F(JobsListenTest, HearsTheCurveThatItGoesOnWith) {
    const std::string key = new_key();
    {
        const auto job = train(jobs(), "g", key);
        learn(*job, 1, 2500);
        job->end(JobState::stopped, "");
    }
    const std::size_t before = told().size();
    const auto job = jobs().begin(some_place, "g", 3000);
    const auto kept = job->name(named("g", key, 3000));
    job->start(2400, &*kept);
    const json view = told().at(before);
    EXPECT_EQ(view["state"], "queued");
    EXPECT_EQ(view["step"], 2400);
    EXPECT_LE(view["points"].size(), 1000u);
    EXPECT_EQ(view["points"].front()[0], 1);
    EXPECT_EQ(view["points"].back()[0], 2400);
    ASSERT_TRUE(job->wait(patience));
    job->on_step(2401, 3000, 3, 3);
    job->on_stage("learning");
    EXPECT_EQ(last()["points"].dump(), "[[2401,3.0,3.0]]");
}

TEST_F(JobsListenTest, HearsOfTheJobsOfTheApiToo) {
    const Job job = submit(jobs(), "a");
    ASSERT_TRUE(runner->waits("a"));
    runner->let("a");
    ended(jobs(), job.id);
    EXPECT_EQ(changes(), Words({"running ", "running loading", "finished "}));
    EXPECT_EQ(steps(), counted(1, 3));
    EXPECT_TRUE(last()["graph"].is_null());
}

// Whenever it is looked at, the curve goes as far as the figures say.
TEST_F(JobsListenTest, AgreesWithWhatIsLookedAtMeanwhile) {
    start(milliseconds(0));
    const auto job = train(jobs(), "g");
    const std::string key = id_of(job);
    std::atomic<bool> over = false;
    in_threads(2, [&](int thread) {
        if (thread == 0) {
            learn(*job, 1, 400);
            over = true;
            return;
        }
        do {
            const json view = jobs().view_with_curve(key).value();
            const json& points = view["points"];
            const std::int64_t shown = points.empty() ? 0 : points.back()[0].get<std::int64_t>();
            EXPECT_EQ(shown, view["step"]);
        } while (!over);
    });
    job->end(JobState::finished, "");
    EXPECT_EQ(steps(), counted(1, 400));
}

// --- stopping -----------------------------------------------------------------------------------

TEST_F(JobsListenTest, HearsThatItIsToStopUntilItHas) {
    const auto job = train(jobs(), "g");
    const std::size_t before = told().size();
    jobs().stop(id_of(job));
    ASSERT_EQ(told().size(), before + 1);
    EXPECT_EQ(last()["stage"], "stopping");
    job->on_stage("validating");
    EXPECT_EQ(last()["stage"], "stopping");
    EXPECT_EQ(last()["state"], "running");
    job->end(JobState::stopped, "");
    EXPECT_EQ(last()["stage"], "");
}

TEST_F(JobsListenTest, IsStoppedBeforeItHasAKey) {
    const auto job = jobs().begin(some_place, "g", 10);
    jobs().stop(id_of(job));
    EXPECT_EQ(last()["stage"], "stopping");
    job->name(named("g", new_key()));
    EXPECT_EQ(job->stop_request(), StopRequest::stop);
    job->start();
    EXPECT_EQ(job->stop_request(), StopRequest::stop);
    EXPECT_TRUE(job->cancel_token().cancelled());
    EXPECT_EQ(last()["stage"], "stopping");
}

TEST_F(JobsListenTest, StopsAllOfGraphsAndThoseThatBeginLater) {
    const auto running = train(jobs(), "g"), waiting = enter(jobs(), "h");
    const Job of_api = submit(jobs(), "a");
    EXPECT_FALSE(jobs().stop_graphs(milliseconds(0)));
    EXPECT_EQ(running->stop_request(), StopRequest::stop);
    EXPECT_EQ(waiting->stop_request(), StopRequest::stop);
    EXPECT_TRUE(running->cancel_token().cancelled());
    EXPECT_EQ(jobs().find(of_api.id)->stop_request, StopRequest::none);
    in_threads(2, [&](int thread) {
        if (thread == 0) {
            EXPECT_TRUE(jobs().stop_graphs(patience));
            return;
        }
        waiting->end(JobState::interrupted, "");
        running->end(JobState::stopped, "");
    });
    const auto later = jobs().begin(some_place, "i", 10);
    EXPECT_EQ(later->stop_request(), StopRequest::stop);
    EXPECT_TRUE(later->cancel_token().cancelled());
    EXPECT_FALSE(jobs().stop_graphs(milliseconds(0)));
    later->end(JobState::interrupted, "");
    EXPECT_TRUE(jobs().stop_graphs(milliseconds(0)));
    runner->let("a");
    EXPECT_EQ(ended(jobs(), of_api.id).state, JobState::finished);
}

// Also one that had been learned before, and is about to be handed on.
TEST_F(JobsListenTest, StopsOneThatWasJustNamed) {
    const std::string key = train_to_end(jobs(), "g");
    const auto job = jobs().begin(some_place, "g", 10);
    const auto kept = job->name(named("g", key));
    EXPECT_FALSE(jobs().stop_graphs(milliseconds(0)));
    EXPECT_EQ(job->stop_request(), StopRequest::stop);
    job->reuse();
    EXPECT_EQ(job->stop_request(), StopRequest::none);
    EXPECT_TRUE(jobs().stop_graphs(milliseconds(0)));
}

// Whatever it is doing when all are stopped, it hears of it.
TEST(StopGraphs, MissesNoneThatIsBeginning) {
    for (int round = 0; round < 12; ++round) {
        const TemporaryFolder root;
        Jobs jobs(root.path(), std::make_shared<FakeRunner>(), {});
        in_threads(2, [&](int thread) {
            if (thread == 0) {
                for (int spin = 0; spin < round * 10; ++spin) std::this_thread::yield();
                EXPECT_TRUE(jobs.stop_graphs(patience));
                return;
            }
            const auto job = enter(jobs, "g");
            EXPECT_TRUE(eventually([&] { return job->cancel_token().cancelled(); }));
            EXPECT_TRUE(eventually([&] { return job->stop_request() == StopRequest::stop; }));
            job->end(JobState::stopped, "");
        });
    }
}

}  // namespace
}  // namespace zoodip
