// Jobs of graphs: a node trains, in its turn among the jobs.
#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "full_disk.h"
#include "graph_jobs.h"
#include "in_threads.h"

namespace zoodip {
namespace {

using Words = std::vector<std::string>;
constexpr std::chrono::milliseconds at_once{0};

class GraphJobTest : public ::testing::Test {
  protected:
    std::unique_ptr<GraphJob> enter(const std::string& word) { return zoodip::enter(jobs, word); }
    JobState state(const std::string& id) const { return jobs.find(id)->state; }

    TemporaryFolder root;
    std::shared_ptr<FakeRunner> runner = std::make_shared<FakeRunner>();
    Jobs jobs{root.path(), runner, {.step_events = std::chrono::milliseconds(0)}};
};

TEST_F(GraphJobTest, WaitsForItsTurnAndHoldsItUntilItEnds) {
    const Job first = submit(jobs, "a");
    const auto graph = enter("g");
    const Job last = submit(jobs, "b");
    ASSERT_TRUE(runner->waits("a"));
    EXPECT_FALSE(graph->wait(at_once));
    EXPECT_EQ(state(id_of(graph)), JobState::queued);
    EXPECT_EQ(jobs.position(id_of(graph)), 0u);
    runner->let("a");
    ASSERT_TRUE(graph->wait(patience));
    EXPECT_EQ(state(id_of(graph)), JobState::running);
    EXPECT_EQ(jobs.find(id_of(graph))->origin, "graph");
    EXPECT_FALSE(runner->has_begun("b"));
    graph->end(JobState::finished, "");
    EXPECT_EQ(state(id_of(graph)), JobState::finished);
    runner->let("b");
    EXPECT_EQ(ended(jobs, last.id).state, JobState::finished);
    EXPECT_EQ(ended(jobs, first.id).state, JobState::finished);
    EXPECT_EQ(runner->words(), Words({"a", "b"}));
}

TEST_F(GraphJobTest, IsWatchedLikeAnyOther) {
    const auto graph = enter("g");
    ASSERT_TRUE(graph->wait(patience));
    graph->on_stage("learning");
    graph->on_start(0, 10);
    graph->on_step(4, 10, 0.5, 0.25);
    graph->preview(4, "a jpeg");
    graph->preview(5, "another");
    const Job job = *jobs.find(id_of(graph));
    EXPECT_EQ(job.progress.stage, "learning");
    EXPECT_EQ(job.progress.step, 4);
    EXPECT_EQ(job.progress.steps, 10);
    EXPECT_EQ(jobs.preview(job.id, 4), std::nullopt);  // the latest only
    EXPECT_EQ(read_text(jobs.preview(job.id, 5).value()), "another");
    graph->end(JobState::stopped, "so far");
    EXPECT_EQ(jobs.find(job.id)->progress.stage, "");
    std::vector<std::string> kinds;
    for (const JobEvent& event : jobs.events(job.id)->read(0, 100)) kinds.push_back(event.kind);
    EXPECT_EQ(kinds, Words({"state", "state", "stage", "step", "preview", "preview", "state"}));
}

TEST_F(GraphJobTest, HearsThatItIsToStop) {
    const auto graph = enter("g");
    ASSERT_TRUE(graph->wait(patience));
    EXPECT_EQ(graph->stop_request(), StopRequest::none);
    EXPECT_FALSE(graph->cancel_token().cancelled());
    EXPECT_EQ(jobs.stop(id_of(graph))->state, JobState::running);
    EXPECT_EQ(graph->stop_request(), StopRequest::stop);
    EXPECT_TRUE(graph->cancel_token().cancelled());
    jobs.cancel(id_of(graph));
    EXPECT_EQ(graph->stop_request(), StopRequest::cancel);
    graph->end(JobState::cancelled, "");
    EXPECT_EQ(state(id_of(graph)), JobState::cancelled);
    EXPECT_THROW(jobs.cancel(id_of(graph)), WrongState);
}

TEST_F(GraphJobTest, HearsItWhileItWaits) {
    const Job first = submit(jobs, "a");
    ASSERT_TRUE(runner->waits("a"));
    const auto graph = enter("g");
    EXPECT_EQ(jobs.cancel(id_of(graph))->state, JobState::queued);
    EXPECT_TRUE(graph->cancel_token().cancelled());
    EXPECT_EQ(graph->stop_request(), StopRequest::cancel);
    graph->end(JobState::cancelled, "");
    EXPECT_EQ(state(id_of(graph)), JobState::cancelled);
    EXPECT_EQ(jobs.position(id_of(graph)), std::nullopt);
    runner->let("a");
    EXPECT_EQ(ended(jobs, first.id).state, JobState::finished);
    runner->let("b");
    EXPECT_EQ(ended(jobs, submit(jobs, "b").id).state, JobState::finished);
}

TEST_F(GraphJobTest, EndsAsFailedWithoutAWord) {
    auto waiting = enter("g");
    ASSERT_TRUE(waiting->wait(patience));
    const std::string id = id_of(waiting);
    auto queued = enter("h");
    const std::string queued_id = id_of(queued);
    queued.reset();
    EXPECT_EQ(state(queued_id), JobState::failed);
    waiting.reset();
    EXPECT_EQ(state(id), JobState::failed);
    EXPECT_NE(jobs.find(id)->message, "");
    runner->let("a");
    EXPECT_EQ(ended(jobs, submit(jobs, "a").id).state, JobState::finished);
}

TEST_F(GraphJobTest, EndsOnce) {
    auto graph = enter("g");
    const std::string id = id_of(graph);
    ASSERT_TRUE(graph->wait(patience));
    in_threads(3, [&](int thread) {
        graph->end(thread == 0 ? JobState::finished : JobState::stopped, "");
    });
    const JobState first = state(id);
    graph->end(JobState::cancelled, "");
    graph.reset();
    EXPECT_EQ(state(id), first);
    EXPECT_EQ(states_in(*jobs.events(id)).size(), 3u);
}

TEST_F(GraphJobTest, GoesOnWhenTheServiceEnds) {
    const auto running = enter("g");
    ASSERT_TRUE(running->wait(patience));
    const auto waiting = enter("h");
    std::atomic<bool> woken = false;
    in_threads(2, [&](int thread) {
        if (thread == 0) {
            woken = waiting->wait(patience);
        } else {
            jobs.shutdown();
        }
    });
    EXPECT_TRUE(woken);
    EXPECT_FALSE(running->cancel_token().cancelled());
    EXPECT_FALSE(waiting->cancel_token().cancelled());
}

// Its end and its turn at the same moment: the last word is that it ended, and the next one's turn
// comes.
TEST_F(GraphJobTest, MayEndInTheMomentOfItsTurn) {
    for (int i = 0; i < 40; ++i) {
        auto holder = enter("holder"), graph = enter("g");
        const std::string id = id_of(graph);
        ASSERT_TRUE(holder->wait(patience));
        in_threads(3, [&](int thread) {
            if (thread == 0) return holder.reset();
            if (thread == 1) {
                while (jobs.position(id)) continue;
                return graph.reset();
            }
            try {  // what is asked is recorded: its turn and its end both wait for that
                while (!jobs.events(id)->closed()) jobs.stop(id);
            } catch (const WrongState&) {
            }
        });
        EXPECT_EQ(state(id), JobState::failed);
        EXPECT_TRUE(jobs.events(id)->closed());
        EXPECT_EQ(jobs.position(id), std::nullopt);
        const auto next = enter("next");
        ASSERT_TRUE(next->wait(patience));
        next->end(JobState::finished, "");
        EXPECT_EQ(states_in(*jobs.events(id)).back(), "failed");
        EXPECT_EQ(state(id), JobState::failed);
    }
}

}  // namespace
}  // namespace zoodip
