// Jobs of one process: order, asking them to stop, how they end, what the disk refuses.
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "fake_runner.h"
#include "full_disk.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;
using Plan = FakeRunner::Plan;

class JobsTest : public ::testing::Test {
  protected:
    void start(const JobLimits& limits = {}) {
        jobs_ = std::make_unique<Jobs>(root.path(), runner, limits);
    }
    Jobs& jobs() {
        if (jobs_ == nullptr) start();
        return *jobs_;
    }
    // Lets a job end, and returns it.
    Job finish(const Job& job) {
        runner->let(job.request.word);
        return ended(jobs(), job.id);
    }
    nlohmann::json record(const Job& job) {
        return nlohmann::json::parse(read_text(root / job.id / "job.json"));
    }

    TemporaryFolder root;
    std::shared_ptr<FakeRunner> runner = std::make_shared<FakeRunner>();

  private:
    std::unique_ptr<Jobs> jobs_;
};

TEST_F(JobsTest, DoesOneAfterAnotherInTheirOrder) {
    std::vector<Job> all;
    for (const char* word : {"a", "b", "c"}) all.push_back(submit(jobs(), word));
    ASSERT_TRUE(runner->waits("a"));
    EXPECT_EQ(jobs().find(all[0].id)->state, JobState::running);
    EXPECT_EQ(jobs().find(all[1].id)->state, JobState::queued);
    EXPECT_EQ(jobs().position(all[0].id), std::nullopt);
    EXPECT_EQ(jobs().position(all[1].id), 0u);
    EXPECT_EQ(jobs().position(all[2].id), 1u);
    for (const Job& job : all) EXPECT_EQ(finish(job).state, JobState::finished);
    EXPECT_EQ(runner->words(), Words({"a", "b", "c"}));
    EXPECT_EQ(runner->most_at_once(), 1);
    const auto listed = jobs().list();
    ASSERT_EQ(listed.size(), 3u);
    EXPECT_EQ(listed[0].id, all[2].id);
    EXPECT_EQ(listed[2].id, all[0].id);
}

TEST_F(JobsTest, DoesTheJobsOfTwoDevicesSideBySide) {
    const Job first = submit(jobs(), "a", "cpu"), second = submit(jobs(), "b", "cuda");
    EXPECT_TRUE(runner->waits("a"));
    EXPECT_TRUE(runner->waits("b"));
    EXPECT_EQ(finish(second).state, JobState::finished);
    EXPECT_EQ(jobs().find(first.id)->state, JobState::running);
    EXPECT_EQ(finish(first).state, JobState::finished);
}

TEST_F(JobsTest, HandsTheRunnerWhatWasAskedFor) {
    const JobRequest request{"model", "", "sks", "dog", {{"steps", 7}}};
    const std::vector<NewPicture> pictures = {{".png", "one"}};
    const Job job = jobs().submit(request, files_of(request), pictures);
    finish(job);
    const JobTask training = runner->begun().at(0).training;
    EXPECT_EQ(training.model, "/models/model");
    EXPECT_EQ(training.images, root / job.id / "pictures");
    EXPECT_EQ(read_text(training.images / "001.png"), "one");
    EXPECT_EQ(training.init, "dog");
    EXPECT_EQ(training.settings, request.settings);
    EXPECT_EQ(training.token, root / job.id / "token.safetensors");
    EXPECT_EQ(finish(submit(jobs(), "b")).request.images, "folder");
    EXPECT_EQ(runner->begun().at(1).training.images, "/images/folder");
}

TEST_F(JobsTest, TellsWhatHappened) {
    start({.step_events = std::chrono::milliseconds(0)});
    const Job job = submit(jobs(), "a");
    finish(job);
    std::vector<std::string> kinds;
    std::uint64_t id = 0;
    for (const JobEvent& event : jobs().events(job.id)->read(0, 100)) {
        EXPECT_EQ(event.id, ++id);
        kinds.push_back(event.kind);
    }
    EXPECT_EQ(kinds,
              Words({"state", "state", "stage", "step", "step", "step", "preview", "state"}));
    EXPECT_EQ(states_in(*jobs().events(job.id)), Words({"queued", "running", "finished"}));
    const auto preview = jobs().events(job.id)->read(6, 1).at(0);
    EXPECT_EQ(nlohmann::json::parse(preview.data)["url"], "/v1/jobs/" + job.id + "/previews/1");
}

TEST_F(JobsTest, TellsOfFewStepsAndTheLast) {
    start({.step_events = std::chrono::hours(1)});
    runner->plan("a", {.steps = 500});
    const Job job = submit(jobs(), "a");
    finish(job);
    std::vector<int> steps;
    for (const JobEvent& event : jobs().events(job.id)->read(0, 1000)) {
        if (event.kind == "step") steps.push_back(nlohmann::json::parse(event.data)["step"]);
    }
    ASSERT_FALSE(steps.empty());
    EXPECT_LE(steps.size(), 2u);
    EXPECT_EQ(steps.back(), 500);
}

TEST_F(JobsTest, KeepsAFinishedWordAndItsPreviews) {
    const Job job = submit(jobs(), "a");
    ASSERT_TRUE(runner->waits("a"));
    EXPECT_EQ(jobs().token(job.id), std::nullopt);
    const Job finished = finish(job);
    EXPECT_EQ(finished.message, "");
    EXPECT_EQ(finished.progress.step, 3);
    EXPECT_GT(finished.started, 0);
    EXPECT_GE(finished.ended, finished.started);
    EXPECT_EQ(read_text(jobs().token(job.id).value()), "a token of a");
    EXPECT_EQ(read_text(jobs().preview(job.id, 1).value()), "a picture");
    EXPECT_EQ(jobs().preview(job.id, 2), std::nullopt);
    EXPECT_EQ(record(job)["state"], "finished");
    EXPECT_EQ(record(job)["started"], finished.started);
    EXPECT_EQ(record(job)["ended"], finished.ended);
}

TEST_F(JobsTest, GoesOnFromAnEndedOneAsANewJob) {
    JobRequest request = request_of("a");
    request.images = "";  // pictures of its own
    const NewPicture picture{".jpg", "a picture"};
    const Job first = jobs().submit(request, files_of(request), {&picture, 1});
    ASSERT_TRUE(runner->waits("a"));
    EXPECT_THROW(jobs().extend(first.id, 7), WrongState);  // it runs
    finish(first);
    const std::string before = read_text(root / first.id / "job.json");
    const auto second = jobs().extend(first.id, 7);
    ASSERT_TRUE(second);
    EXPECT_NE(second->id, first.id);
    EXPECT_EQ(second->request.settings["steps"], 7);
    EXPECT_EQ(second->request.settings["device"], "cpu");
    EXPECT_EQ(ended(jobs(), second->id).state, JobState::finished);
    const auto begun = runner->begun();
    ASSERT_EQ(begun.size(), 2u);
    EXPECT_FALSE(begun[0].goes_on);
    EXPECT_TRUE(begun[1].goes_on);
    EXPECT_EQ(begun[1].training.settings["steps"], 7);
    EXPECT_EQ(begun[1].training.model, begun[0].training.model);
    EXPECT_EQ(read_text(begun[1].training.images / "001.jpg"), "a picture");
    EXPECT_EQ(read_text(root / first.id / "job.json"), before);
    EXPECT_TRUE(jobs().token(first.id) && jobs().token(second->id));
}

TEST_F(JobsTest, HasNothingToGoOnFromWhereNothingWasKept) {
    const Job job = submit(jobs(), "a");
    ASSERT_TRUE(runner->waits("a"));
    jobs().cancel(job.id);
    ended(jobs(), job.id);
    EXPECT_THROW(jobs().extend(job.id, 7), WrongState);
    EXPECT_EQ(jobs().extend("0123456789abcdef", 7), std::nullopt);
    EXPECT_EQ(jobs().list().size(), 1u);
    for (const auto& entry : fs::directory_iterator(root.path())) {  // nothing half-made is left
        EXPECT_FALSE(entry.path().filename().string().starts_with(".new-")) << entry.path();
    }
}

TEST_F(JobsTest, QueuesNoMoreThanItMay) {
    start({.queued = 2});
    const Job running = submit(jobs(), "a");
    ASSERT_TRUE(runner->waits("a"));
    submit(jobs(), "b");
    const Job last = submit(jobs(), "c");
    EXPECT_THROW(submit(jobs(), "d"), QueueFull);
    EXPECT_THROW(submit(jobs(), "d", "cuda"), QueueFull);
    EXPECT_EQ(jobs().list().size(), 3u);
    jobs().cancel(last.id);
    const Job other = submit(jobs(), "e");  // its place is free
    finish(running);
    EXPECT_TRUE(runner->waits("b"));
    EXPECT_EQ(jobs().position(other.id), 0u);
}

TEST_F(JobsTest, LeavesNothingOfWhatTheRunnerRefuses) {
    start({.queued = 1});
    const JobRequest refused{"model", "", "refused", "dog", nlohmann::json::object()};
    const JobRequest odd{"model", "", "odd", "dog", nlohmann::json::object()};
    const std::vector<NewPicture> pictures = {{".png", "one"}};
    for (int i = 0; i < 2; ++i) {  // nor is a place taken
        try {
            jobs().submit(refused, files_of(refused), pictures);
            ADD_FAILURE() << "not refused";
        } catch (const Error& error) {
            EXPECT_STREQ(error.what(), "word: is refused, for token.safetensors");
        }
        EXPECT_THROW(jobs().submit(odd, files_of(odd), pictures), std::runtime_error);
        EXPECT_EQ(names_in(root.path()), std::set<std::string>{".lock"});
    }
    EXPECT_TRUE(jobs().list().empty());
}

TEST_F(JobsTest, StopsARunningOneAndKeepsItsWord) {
    const Job job = submit(jobs(), "a");
    ASSERT_TRUE(runner->waits("a"));
    EXPECT_EQ(jobs().stop(job.id)->id, job.id);
    const Job stopped = ended(jobs(), job.id);
    EXPECT_EQ(stopped.state, JobState::stopped);
    EXPECT_EQ(stopped.message, "The word as of step 3 is kept.");
    EXPECT_EQ(read_text(jobs().token(job.id).value()), "a token of a");
    EXPECT_EQ(states_in(*jobs().events(job.id)), Words({"queued", "running", "stopped"}));
}

TEST_F(JobsTest, StopBeforeTheFirstStepKeepsNothing) {
    runner->plan("a", {.steps = 0});
    const Job job = submit(jobs(), "a");
    ASSERT_TRUE(runner->waits("a"));
    jobs().stop(job.id);
    const Job stopped = ended(jobs(), job.id);
    EXPECT_EQ(stopped.state, JobState::cancelled);
    EXPECT_EQ(stopped.message, "Stopped before the first step: nothing was learned.");
    EXPECT_EQ(jobs().token(job.id), std::nullopt);
}

TEST_F(JobsTest, CancelsARunningOneAndKeepsNothing) {
    const Job job = submit(jobs(), "a");
    ASSERT_TRUE(runner->waits("a"));
    jobs().cancel(job.id);
    EXPECT_EQ(ended(jobs(), job.id).state, JobState::cancelled);
    EXPECT_EQ(jobs().token(job.id), std::nullopt);
    EXPECT_EQ(jobs().preview(job.id, 1), std::nullopt);
    EXPECT_EQ(names_in(root / job.id), (std::set<std::string>{"job.json", "events.jsonl"}));
}

TEST_F(JobsTest, CancelOverridesStopAndNotTheOtherWayRound) {
    runner->plan_all({.deaf = true});
    const Job first = submit(jobs(), "a"), second = submit(jobs(), "b");
    ASSERT_TRUE(runner->waits("a"));
    jobs().stop(first.id);
    jobs().cancel(first.id);
    EXPECT_EQ(finish(first).state, JobState::cancelled);
    ASSERT_TRUE(runner->waits("b"));
    jobs().cancel(second.id);
    jobs().stop(second.id);
    EXPECT_EQ(finish(second).state, JobState::cancelled);
}

TEST_F(JobsTest, StopThatCameTooLateLeavesItFinished) {
    runner->plan("a", {.deaf = true});
    const Job job = submit(jobs(), "a");
    ASSERT_TRUE(runner->waits("a"));
    EXPECT_EQ(jobs().stop(job.id)->state, JobState::running);
    EXPECT_EQ(finish(job).state, JobState::finished);
}

TEST_F(JobsTest, EndsQueuedOnesAtOnce) {
    const Job running = submit(jobs(), "a"), stopped = submit(jobs(), "b"),
              cancelled = submit(jobs(), "c"), left = submit(jobs(), "d");
    ASSERT_TRUE(runner->waits("a"));
    EXPECT_EQ(jobs().stop(stopped.id)->state, JobState::cancelled);
    EXPECT_EQ(jobs().cancel(cancelled.id)->state, JobState::cancelled);
    EXPECT_TRUE(jobs().events(cancelled.id)->closed());
    EXPECT_EQ(jobs().position(left.id), 0u);
    EXPECT_EQ(jobs().find(cancelled.id)->started, 0);
    finish(running);
    finish(left);
    EXPECT_EQ(runner->words(), Words({"a", "d"}));
}

TEST_F(JobsTest, AsksNothingOfOneThatHasEndedOrIsUnknown) {
    const Job job = submit(jobs(), "a");
    finish(job);
    EXPECT_THROW(jobs().stop(job.id), WrongState);
    EXPECT_THROW(jobs().cancel(job.id), WrongState);
    EXPECT_EQ(jobs().find(job.id)->state, JobState::finished);
    EXPECT_NE(jobs().token(job.id), std::nullopt);
    for (const char* id : {"", "0000000000000000", "../x", ".lock"}) {
        EXPECT_EQ(jobs().stop(id), std::nullopt);
        EXPECT_EQ(jobs().find(id), std::nullopt);
        EXPECT_FALSE(jobs().remove(id));
        EXPECT_EQ(jobs().events(id), nullptr);
        EXPECT_EQ(jobs().token(id), std::nullopt);
        EXPECT_EQ(jobs().preview(id, 1), std::nullopt);
    }
}

TEST_F(JobsTest, FailsWithTheRunnersReasonAndGoesOn) {
    runner->plan("a", {.waits = false, .end = Plan::End::error, .message = "no memory"});
    runner->plan("b", {.steps = 0, .waits = false, .end = Plan::End::odd_error, .message = "odd"});
    runner->plan("c", {.waits = false, .end = Plan::End::error, .message = "no file \xff"});
    const Job first = submit(jobs(), "a"), second = submit(jobs(), "b"),
              third = submit(jobs(), "c");
    EXPECT_EQ(ended(jobs(), first.id).state, JobState::failed);
    EXPECT_EQ(jobs().find(first.id)->message, "no memory");
    EXPECT_NE(jobs().token(first.id), std::nullopt);  // what was learned before
    EXPECT_EQ(ended(jobs(), second.id).message, "odd");
    EXPECT_EQ(jobs().token(second.id), std::nullopt);
    EXPECT_EQ(ended(jobs(), third.id).message, "no file \ufffd");
    EXPECT_EQ(finish(submit(jobs(), "d")).state, JobState::finished);
}

TEST_F(JobsTest, RemovesOnlyWhatHasEnded) {
    const Job running = submit(jobs(), "a"), queued = submit(jobs(), "b");
    ASSERT_TRUE(runner->waits("a"));
    EXPECT_THROW(jobs().remove(running.id), WrongState);
    EXPECT_THROW(jobs().remove(queued.id), WrongState);
    const auto events = jobs().events(running.id);
    finish(running);
    EXPECT_TRUE(jobs().remove(running.id));
    EXPECT_FALSE(jobs().remove(running.id));
    EXPECT_FALSE(fs::exists(root / running.id));
    EXPECT_EQ(jobs().find(running.id), std::nullopt);
    EXPECT_EQ(states_in(*events).back(), "finished");  // who reads them, reads on
    EXPECT_EQ(jobs().list().size(), 1u);
}

TEST_F(JobsTest, DropsTheOldestBeyondWhatItKeeps) {
    start({.kept = 2});
    std::vector<Job> all;
    for (const char* word : {"a", "b", "c", "d"}) {
        all.push_back(submit(jobs(), word));
        runner->let(word);
        EXPECT_TRUE(is_told_to_its_end(*jobs().events(all.back().id)));
    }
    EXPECT_TRUE(eventually([&] { return jobs().list().size() == 2; }));
    EXPECT_EQ(jobs().find(all[0].id), std::nullopt);
    EXPECT_NE(jobs().find(all[3].id), std::nullopt);
    EXPECT_FALSE(fs::exists(root / all[0].id));
}

TEST_F(JobsTest, KeepsWhatHasNotEndedWhateverTheLimits) {
    start({.kept = 0, .kept_for = std::chrono::hours(0)});
    const Job first = submit(jobs(), "a"), second = submit(jobs(), "b");
    ASSERT_TRUE(runner->waits("a"));
    EXPECT_EQ(jobs().list().size(), 2u);
    runner->let("a");
    EXPECT_TRUE(eventually([&] { return jobs().list().size() == 1; }));
    EXPECT_NE(jobs().find(second.id), std::nullopt);
    EXPECT_EQ(jobs().stop(second.id).has_value(), jobs().find(second.id).has_value());
}

TEST_F(JobsTest, AcceptsNothingOnAFullDisk) {
    const Job before = submit(jobs(), "a");
    {
        const FullDisk full(50);
        EXPECT_THROW(submit(jobs(), "b"), StorageError);
    }
    EXPECT_EQ(names_in(root.path()), (std::set<std::string>{".lock", before.id}));
    EXPECT_EQ(jobs().list().size(), 1u);
    finish(before);
    EXPECT_EQ(finish(submit(jobs(), "c")).state, JobState::finished);
}

TEST_F(JobsTest, EndsAJobInThisProcessWhenTheDiskIsFull) {
    const Job job = submit(jobs(), "a"), next = submit(jobs(), "b");
    ASSERT_TRUE(runner->waits("a"));
    {
        const FullDisk full(50);
        EXPECT_EQ(jobs().cancel(next.id)->state, JobState::cancelled);
        EXPECT_EQ(finish(job).state, JobState::finished);
    }
    EXPECT_EQ(record(job)["state"], "running");
    EXPECT_EQ(finish(submit(jobs(), "c")).state, JobState::finished);
}

TEST_F(JobsTest, FailsAJobThatCannotBeBegunOnAFullDiskAndGoesOn) {
    const Job first = submit(jobs(), "a"), second = submit(jobs(), "b");
    ASSERT_TRUE(runner->waits("a"));
    {
        const FullDisk full(50);
        runner->let("a");
        const Job failed = ended(jobs(), second.id);
        EXPECT_EQ(failed.state, JobState::failed);
        EXPECT_NE(failed.message.find("cannot write"), std::string::npos) << failed.message;
    }
    EXPECT_EQ(finish(submit(jobs(), "c")).state, JobState::finished);
    EXPECT_FALSE(runner->has_begun("b"));
}

}  // namespace
}  // namespace zoodip
