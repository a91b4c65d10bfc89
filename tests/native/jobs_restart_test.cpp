// Jobs of the processes before: one that ended, and one that was killed. A copy of the folder, made
// while trainings run, is what a process that was killed at that moment leaves.
#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "graph_jobs.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

class JobsRestartTest : public ::testing::Test {
  protected:
    void TearDown() override {
        jobs.reset();
        before.reset();
    }
    void start(const JobLimits& limits = {}) {
        jobs = std::make_unique<Jobs>(root / "after", runner, limits);
    }
    // Starts a process on what the one before leaves, killed now.
    void kill_and_start(const JobLimits& limits = {}) {
        fs::copy(root / "before", root / "after", fs::copy_options::recursive);
        start(limits);
    }
    // Changes a record as no process does.
    void alter_record(const Job& job, const std::function<void(nlohmann::json&)>& alter) {
        const fs::path file = root / "before" / job.id / "job.json";
        auto record = nlohmann::json::parse(read_text(file));
        alter(record);
        write_text(file, record.dump());
    }
    Job finish(const std::string& word, const Job& job) {
        runner->let(word);
        return ended(*jobs, job.id);
    }

    TemporaryFolder root;
    std::shared_ptr<FakeRunner> runner_before = std::make_shared<FakeRunner>();
    std::shared_ptr<FakeRunner> runner = std::make_shared<FakeRunner>();
    std::unique_ptr<Jobs> before =
        std::make_unique<Jobs>(root / "before", runner_before, JobLimits());
    std::unique_ptr<Jobs> jobs;
};

TEST_F(JobsRestartTest, GoesOnAfterAKillWithTheRunningOneFirst) {
    const Job first = submit(*before, "a"), second = submit(*before, "b"),
              third = submit(*before, "c"), other = submit(*before, "x", "cuda");
    ASSERT_TRUE(runner_before->waits("a"));
    ASSERT_TRUE(runner_before->waits("x"));
    const auto told = before->events(first.id)->last();
    kill_and_start();
    ASSERT_TRUE(runner->waits("a"));
    ASSERT_TRUE(runner->waits("x"));
    EXPECT_TRUE(runner->begun().at(0).goes_on);
    EXPECT_EQ(jobs->position(second.id), 0u);
    EXPECT_EQ(jobs->position(third.id), 1u);
    EXPECT_EQ(jobs->find(first.id)->started, before->find(first.id)->started);
    EXPECT_GT(jobs->events(first.id)->last(), told);  // the numbers go on
    EXPECT_EQ(finish("a", first).state, JobState::finished);
    EXPECT_EQ(finish("b", second).state, JobState::finished);
    EXPECT_EQ(finish("c", third).state, JobState::finished);
    EXPECT_EQ(finish("x", other).state, JobState::finished);
    EXPECT_EQ(states_in(*jobs->events(first.id)),
              Words({"queued", "running", "running", "finished"}));
}

TEST_F(JobsRestartTest, GoesOnAfterAnOrderlyEnd) {
    const Job first = submit(*before, "a"), second = submit(*before, "b");
    ASSERT_TRUE(runner_before->waits("a"));
    const auto events = before->events(first.id);
    before->shutdown();
    EXPECT_TRUE(events->closed());
    EXPECT_THROW(submit(*before, "c"), QueueFull);
    EXPECT_EQ(before->find(first.id)->state, JobState::running);
    before.reset();
    const auto record = nlohmann::json::parse(read_text(root / "before" / first.id / "job.json"));
    EXPECT_EQ(record["state"], "running");
    EXPECT_EQ(runner_before->words(), Words({"a"}));
    kill_and_start();
    ASSERT_TRUE(runner->waits("a"));
    EXPECT_TRUE(runner->begun().at(0).goes_on);
    EXPECT_EQ(finish("a", first).state, JobState::finished);
    EXPECT_EQ(finish("b", second).state, JobState::finished);
}

TEST_F(JobsRestartTest, DoesNotRunAgainWhatHasEnded) {
    runner_before->plan_all({.waits = false});
    runner_before->plan("b", {.waits = false, .end = FakeRunner::Plan::End::error});
    const Job finished = submit(*before, "a"), failed = submit(*before, "b");
    const Job last = ended(*before, failed.id);
    const auto told = before->events(finished.id)->last();
    kill_and_start();
    EXPECT_EQ(jobs->find(finished.id)->state, JobState::finished);
    EXPECT_EQ(jobs->find(failed.id)->message, "it broke");
    EXPECT_EQ(jobs->find(failed.id)->ended, last.ended);
    EXPECT_EQ(read_text(jobs->token(finished.id).value()), "a token of a");
    EXPECT_TRUE(jobs->events(finished.id)->closed());
    EXPECT_EQ(jobs->events(finished.id)->last(), told);
    EXPECT_THROW(jobs->stop(finished.id), WrongState);
    finish("c", submit(*jobs, "c"));
    EXPECT_EQ(runner->words(), Words({"c"}));
    EXPECT_EQ(jobs->list().at(0).request.word, "c");  // newer than those before
}

TEST_F(JobsRestartTest, TellsTheEndThatAKilledProcessRecordedOnly) {
    runner_before->plan_all({.waits = false});
    const Job job = submit(*before, "a"), other = submit(*before, "b");
    ended(*before, other.id);
    const fs::path events = root / "before" / job.id / "events.jsonl";
    const std::string whole = read_text(events);
    write_text(events, whole.substr(0, whole.rfind('\n', whole.size() - 2) + 1));
    fs::remove(root / "before" / other.id / "events.jsonl");
    kill_and_start();
    EXPECT_EQ(states_in(*jobs->events(job.id)), Words({"queued", "running", "finished"}));
    EXPECT_EQ(states_in(*jobs->events(other.id)), Words({"finished"}));
    EXPECT_EQ(jobs->events(other.id)->read(0, 1).at(0).id, 1u);
}

TEST_F(JobsRestartTest, HoldsToAWishThatWasRecorded) {
    runner_before->plan_all({.deaf = true});
    runner_before->plan("c", {.steps = 0, .deaf = true});
    const Job stopped = submit(*before, "a", "cpu"), cancelled = submit(*before, "b", "cuda"),
              unlearned = submit(*before, "c", "cuda:1");
    for (const char* word : {"a", "b", "c"}) ASSERT_TRUE(runner_before->waits(word));
    before->stop(stopped.id);
    before->cancel(cancelled.id);
    before->stop(unlearned.id);
    kill_and_start();
    for (const char* word : {"a", "b", "c"}) runner_before->let(word);
    EXPECT_EQ(jobs->find(stopped.id)->state, JobState::stopped);
    EXPECT_EQ(read_text(jobs->token(stopped.id).value()), "a token of a");
    EXPECT_EQ(jobs->find(cancelled.id)->state, JobState::cancelled);
    EXPECT_EQ(jobs->token(cancelled.id), std::nullopt);
    EXPECT_EQ(jobs->preview(cancelled.id, 1), std::nullopt);
    EXPECT_EQ(jobs->find(unlearned.id)->state, JobState::cancelled);
    for (const Job& job : {stopped, cancelled, unlearned}) {
        EXPECT_TRUE(jobs->events(job.id)->closed());
        EXPECT_GT(jobs->find(job.id)->ended, 0);
    }
    EXPECT_TRUE(runner->begun().empty());
}

TEST_F(JobsRestartTest, InterruptsTheTrainingsOfGraphs) {
    const auto graph = train(*before, "g");
    const auto waiting = enter(*before, "h");
    kill_and_start();
    for (const std::string& id : {id_of(graph), id_of(waiting)}) {
        EXPECT_EQ(jobs->find(id)->state, JobState::interrupted);
        EXPECT_NE(jobs->find(id)->message.find("queue its graph again"), std::string::npos);
        EXPECT_TRUE(jobs->events(id)->closed());
    }
    EXPECT_EQ(finish("a", submit(*jobs, "a")).state, JobState::finished);
}

TEST_F(JobsRestartTest, ForgetsWhatEndedTooLongAgo) {
    runner_before->plan_all({.waits = false});
    const Job old = submit(*before, "a"), young = submit(*before, "b");
    ended(*before, young.id);
    before.reset();
    constexpr std::int64_t hour = 3'600'000;
    alter_record(old, [&](auto& record) {
        record["ended"] = record["ended"].template get<std::int64_t>() - 25 * hour;
    });
    alter_record(young, [&](auto& record) {
        record["ended"] = record["ended"].template get<std::int64_t>() - 23 * hour;
    });
    kill_and_start({.kept_for = std::chrono::hours(24)});
    EXPECT_EQ(jobs->find(old.id), std::nullopt);
    EXPECT_NE(jobs->find(young.id), std::nullopt);
    EXPECT_FALSE(fs::exists(root / "after" / old.id));
}

TEST_F(JobsRestartTest, QueuesAllThatWaitedThoughThereAreMoreThanMay) {
    for (const char* word : {"a", "b", "c", "d"}) submit(*before, word);
    ASSERT_TRUE(runner_before->waits("a"));
    kill_and_start({.queued = 1});
    ASSERT_TRUE(runner->waits("a"));
    EXPECT_THROW(submit(*jobs, "e"), QueueFull);
    for (const char* word : {"a", "b", "c", "d"}) runner->let(word);
    for (const Job& job : jobs->list()) {
        EXPECT_EQ(ended(*jobs, job.id).state, JobState::finished);
    }
    EXPECT_EQ(runner->words(), Words({"a", "b", "c", "d"}));
}

TEST_F(JobsRestartTest, IsRefusedAFolderThatAnotherHolds) {
    EXPECT_THROW(Jobs(root / "before", runner, JobLimits()), Error);
    before.reset();
    EXPECT_NO_THROW(Jobs(root / "before", runner, JobLimits()));
}

}  // namespace
}  // namespace zoodip
