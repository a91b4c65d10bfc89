// Jobs that are done together: accepted as one, done at once, ended one by one.
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

class JobsTogetherTest : public ::testing::Test {
  protected:
    void start(const JobLimits& limits = {}) {
        jobs = std::make_unique<Jobs>(root / "jobs", runner, limits);
    }
    std::vector<Job> submit_all(const Words& words) {
        if (jobs == nullptr) start();
        std::vector<Jobs::Subject> subjects;
        for (const std::string& word : words) {
            const JobRequest request = request_of(word);
            subjects.push_back({request, files_of(request)});
        }
        return jobs->submit_together(subjects);
    }
    JobState state(const Job& job) { return jobs->find(job.id)->state; }
    Job finish(const Job& job) {
        runner->let(job.request.word);
        return ended(*jobs, job.id);
    }
    std::size_t folders() const {
        std::size_t count = 0;
        for (const auto& entry : fs::directory_iterator(root / "jobs")) {
            count += entry.is_directory();
        }
        return count;
    }

    TemporaryFolder root;
    std::shared_ptr<FakeRunner> runner = std::make_shared<FakeRunner>();
    std::unique_ptr<Jobs> jobs;
};

TEST_F(JobsTogetherTest, AreOneCallOfTheRunnerAndEndOneByOne) {
    start();
    const Job alone = submit(*jobs, "before");
    const std::vector<Job> all = submit_all({"a", "b", "c"});
    const Job behind = submit(*jobs, "behind");
    ASSERT_EQ(all.size(), 3u);
    EXPECT_NE(all[0].group, "");
    for (const Job& job : all) {
        EXPECT_EQ(job.group, all[0].group);
        EXPECT_EQ(state(job), JobState::queued);
    }
    EXPECT_EQ(alone.group, "");
    finish(alone);
    ASSERT_TRUE(runner->waits("a"));
    for (const Job& job : all) EXPECT_EQ(state(job), JobState::running);
    EXPECT_EQ(state(behind), JobState::queued);
    EXPECT_EQ(finish(all[0]).state, JobState::finished);
    EXPECT_EQ(read_text(jobs->token(all[0].id).value()), "a token of a");
    EXPECT_EQ(state(all[1]), JobState::running);  // which goes on
    EXPECT_EQ(finish(all[1]).state, JobState::finished);
    EXPECT_EQ(finish(all[2]).state, JobState::finished);
    EXPECT_EQ(finish(behind).state, JobState::finished);
    EXPECT_EQ(runner->groups(), std::vector<Words>({{"a", "b", "c"}}));
    EXPECT_EQ(runner->most_at_once(), 1);
}

TEST_F(JobsTogetherTest, OneThatFailsOrIsStoppedLeavesTheOthers) {
    runner->plan("a", {.waits = false, .end = Plan::End::error, .message = "it broke"});
    const std::vector<Job> all = submit_all({"a", "b", "c"});
    const Job failed = ended(*jobs, all[0].id);
    EXPECT_EQ(failed.state, JobState::failed);
    EXPECT_EQ(failed.message, "it broke");
    ASSERT_TRUE(runner->waits("b"));
    jobs->stop(all[1].id);
    EXPECT_EQ(ended(*jobs, all[1].id).state, JobState::stopped);
    ASSERT_TRUE(runner->waits("c"));
    EXPECT_EQ(state(all[2]), JobState::running);
    jobs->cancel(all[2].id);
    EXPECT_EQ(ended(*jobs, all[2].id).state, JobState::cancelled);
    EXPECT_FALSE(fs::exists(jobs->token_in(all[2].id)));
}

TEST_F(JobsTogetherTest, OneThatIsCancelledBeforeIsNotBegun) {
    start();
    const Job before = submit(*jobs, "before");
    const std::vector<Job> all = submit_all({"a", "b", "c"});
    jobs->cancel(all[1].id);
    EXPECT_EQ(ended(*jobs, all[1].id).state, JobState::cancelled);
    finish(before);
    EXPECT_EQ(finish(all[0]).state, JobState::finished);
    EXPECT_EQ(finish(all[2]).state, JobState::finished);
    EXPECT_EQ(runner->groups(), std::vector<Words>({{"a", "c"}}));
}

TEST_F(JobsTogetherTest, WhatBreaksTheWholeEndsAllThatGoOn) {
    runner->plan("a", {.waits = false});
    const std::vector<Job> all = submit_all({"a", "nobody", "c"});
    EXPECT_EQ(ended(*jobs, all[0].id).state, JobState::finished);
    for (const std::size_t i : {1u, 2u}) {
        const Job job = ended(*jobs, all[i].id);
        EXPECT_EQ(job.state, JobState::failed);
        EXPECT_EQ(job.message, "all of them broke");
    }
    const Job next = submit(*jobs, "next");  // the worker lives on
    EXPECT_EQ(finish(next).state, JobState::finished);
}

TEST_F(JobsTogetherTest, GoOnTogetherInTheNextProcess) {
    start();
    const std::vector<Job> all = submit_all({"a", "b", "c"});
    finish(all[0]);
    ASSERT_TRUE(runner->waits("b"));
    jobs->shutdown();
    jobs.reset();
    start();
    EXPECT_EQ(state(all[0]), JobState::finished);
    ASSERT_TRUE(runner->waits("b"));
    EXPECT_EQ(finish(all[1]).state, JobState::finished);
    EXPECT_EQ(finish(all[2]).state, JobState::finished);
    EXPECT_EQ(runner->groups(), std::vector<Words>({{"a", "b", "c"}, {"b", "c"}}));
    const std::vector<FakeRunner::Begun> begun = runner->begun();  // a, b and c, then again b and c
    ASSERT_EQ(begun.size(), 5u);
    EXPECT_EQ(begun[3].word, "b");
    EXPECT_TRUE(begun[3].goes_on);
}

TEST_F(JobsTogetherTest, AreRefusedAsOneAndLeaveNothing) {
    start({.queued = 3});
    for (const Words& words : {Words{"a", "refused"}, {"a", "apart"}}) {
        try {
            submit_all(words);
            FAIL() << "nothing was refused";
        } catch (const Error& error) {
            const std::string said = error.what();
            EXPECT_EQ(said.find(root.path().string()), std::string::npos) << said;
        }
    }
    EXPECT_THROW(submit_all({"odd", "a"}), std::runtime_error);
    EXPECT_THROW(submit_all({"a", "b", "c", "d"}), QueueFull);
    EXPECT_EQ(folders(), 0u);
    EXPECT_TRUE(jobs->list().empty());
    const std::vector<Job> all = submit_all({"a", "b", "c"});  // no place was lost
    for (const Job& job : all) EXPECT_EQ(finish(job).state, JobState::finished);
}

TEST_F(JobsTogetherTest, AFullDiskLeavesNoneOfThem) {
    start();
    JobRequest small = request_of("a"), large = request_of("b");
    large.settings["caption"] = std::string(4000, 'x');  // whose record does not fit any more
    {
        const FullDisk full(3000);
        EXPECT_THROW(jobs->submit_together({{small, files_of(small)}, {large, files_of(large)}}),
                     StorageError);
    }
    EXPECT_EQ(folders(), 0u);
    EXPECT_TRUE(jobs->list().empty());
    EXPECT_TRUE(runner->begun().empty());
    for (const Job& job : submit_all({"a", "b"})) {
        EXPECT_EQ(finish(job).state, JobState::finished);
    }
}

}  // namespace
}  // namespace zoodip
