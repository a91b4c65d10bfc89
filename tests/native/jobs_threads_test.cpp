// Jobs from many threads at once. What is asserted holds on any schedule; a data race is for
// ThreadSanitizer to see (tests/sanitize.py thread).
#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "graph_jobs.h"
#include "in_threads.h"

namespace zoodip {
namespace {

// What an API does, by chance of the schedule at any moment of a job's life.
class Users {
  public:
    explicit Users(Jobs& jobs) : jobs_(jobs) {}

    void submit_some(int user) {
        for (int i = 0; i < 12; ++i) {
            try {
                const Job job = submit(jobs_, concat("word", user, "-", i), i % 2 ? "cpu" : "cuda");
                const std::lock_guard lock(mutex_);
                accepted_.push_back(job.id);
            } catch (const QueueFull&) {
                ++refused_;
            }
        }
    }
    void enter_some() {
        for (int i = 0; i < 4; ++i) {
            const auto graph = enter(jobs_, "graph");
            if (graph->wait(std::chrono::milliseconds(5))) graph->on_step(1, 2, 0, 0);
            if (i % 2) graph->end(JobState::finished, "");
        }
    }
    void meddle(int user) {
        for (int i = 0; i < 60; ++i) {
            for (const Job& job : jobs_.list()) meddle_with(job, user + i);
        }
    }
    void watch() {
        for (int i = 0; i < 30; ++i) {
            for (const Job& job : jobs_.list()) {
                jobs_.position(job.id);
                const auto events = jobs_.events(job.id);
                if (events == nullptr) continue;
                std::uint64_t id = 0;
                for (const JobEvent& event : events->read(0, 100))
                    if (event.id != ++id) ordered_ = false;
            }
        }
    }

    std::vector<std::string> accepted() const { return accepted_; }
    bool ordered() const { return ordered_; }

  private:
    void meddle_with(const Job& job, int what) {
        try {
            switch (what % 4) {
                case 0:
                    jobs_.stop(job.id);
                    break;
                case 1:
                    jobs_.cancel(job.id);
                    break;
                case 2:
                    jobs_.remove(job.id);
                    break;
                default:
                    jobs_.show(job.id, some_place);
                    jobs_.view_with_curve(job.id);
                    jobs_.token(job.id);
                    jobs_.preview(job.id, 1);
            }
        } catch (const WrongState&) {
        }
    }

    Jobs& jobs_;
    std::mutex mutex_;
    std::vector<std::string> accepted_;
    std::atomic<int> refused_{0};
    std::atomic<bool> ordered_{true};
};

void expect_all_ended_in_order(const Jobs& jobs) {
    for (const Job& job : jobs.list()) {
        EXPECT_TRUE(has_ended(job.state)) << name_of(job.state);
        const auto states = states_in(*jobs.events(job.id));
        EXPECT_EQ(states.front(), "queued");
        EXPECT_EQ(states.back(), name_of(job.state));
        EXPECT_LE(states.size(), 3u);
    }
}

TEST(JobsInThreads, AreAskedAllAtOnce) {
    const TemporaryFolder root;
    const auto runner = std::make_shared<FakeRunner>();
    runner->plan_all({.waits = false});
    std::atomic<int> told = 0;
    Jobs jobs(root.path(), runner, {.queued = 8, .kept = 20});
    jobs.listen([&](const nlohmann::json&) { ++told; });
    Users users(jobs);
    in_threads(7, [&](int thread) {
        if (thread < 3) return users.submit_some(thread);
        if (thread == 3) return users.enter_some();
        if (thread < 6) return users.meddle(thread);
        users.watch();
    });
    for (const std::string& id : users.accepted()) {
        const auto events = jobs.events(id);
        EXPECT_TRUE(events == nullptr || is_told_to_its_end(*events));
    }
    EXPECT_TRUE(users.ordered());
    EXPECT_GT(told, 0);
    EXPECT_EQ(runner->most_at_once(), 1);
    EXPECT_TRUE(eventually([&] { return jobs.list().size() <= 20; }));
    expect_all_ended_in_order(jobs);
    auto names = names_in(root.path());
    names.erase(".lock");
    EXPECT_EQ(names.size(), jobs.list().size());
}

TEST(JobsInThreads, MayEndWhileTheyAreAsked) {
    const TemporaryFolder root;
    const auto runner = std::make_shared<FakeRunner>();
    auto jobs = std::make_unique<Jobs>(root.path(), runner, JobLimits());
    std::vector<std::string> accepted;
    in_threads(3, [&](int thread) {
        if (thread == 0) {
            try {
                for (int i = 0; i < 6; ++i) accepted.push_back(submit(*jobs, "a").id);
            } catch (const QueueFull&) {  // the process is ending
            }
        } else if (thread == 1) {
            for (int i = 0; i < 30; ++i) {
                for (const Job& job : jobs->list()) jobs->position(job.id);
            }
        } else {
            jobs->shutdown();
        }
    });
    jobs.reset();
    const Jobs again(root.path(), runner, {});
    for (const std::string& id : accepted) EXPECT_TRUE(again.find(id)) << "lost " << id;
    runner->let("a");
    for (const std::string& id : accepted) {
        EXPECT_EQ(ended(again, id).state, JobState::finished);
    }
}

// The places of jobs that are being accepted count too.
TEST(JobsInThreads, NeverQueueMoreThanTheyMay) {
    const TemporaryFolder root;
    const auto runner = std::make_shared<FakeRunner>();
    Jobs jobs(root.path(), runner, {.queued = 3});
    submit(jobs, "first");
    ASSERT_TRUE(runner->waits("first"));
    std::atomic<std::size_t> accepted{0};
    const auto submit_until_full = [&] {
        for (int i = 0; i < 5; ++i) {
            try {
                submit(jobs, "a");
                ++accepted;
            } catch (const QueueFull&) {
            }
        }
    };
    in_threads(4, [&](int) { submit_until_full(); });
    EXPECT_LE(accepted, 3u);
    submit_until_full();
    EXPECT_EQ(accepted, 3u);
    EXPECT_EQ(jobs.list().size(), 4u);
}

}  // namespace
}  // namespace zoodip
