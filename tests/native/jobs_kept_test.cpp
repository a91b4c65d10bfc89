// What is kept of the jobs of graphs: found again by its key, shown by nodes, dropped for space,
// and shared by two processes.
#include <atomic>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "expect_in.h"
#include "full_disk.h"
#include "graph_jobs.h"
#include "in_threads.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Words = std::vector<std::string>;

constexpr std::uint64_t megabyte = 1 << 20;

class JobsKeptTest : public ::testing::Test {
  protected:
    // The process after this one; there is none before.
    Jobs& start(const JobLimits& limits = {}) {
        jobs_.reset();
        jobs_ = std::make_unique<Jobs>(root.path(), runner, limits, JobFolders::Sharing::shared);
        return *jobs_;
    }
    Jobs& jobs() { return jobs_ == nullptr ? start() : *jobs_; }
    json record(const std::string& id) const {
        return json::parse(read_text(root / id / "job.json"));
    }
    void alter_record(const std::string& id, const std::function<void(json&)>& alter) {
        json altered = record(id);
        alter(altered);
        write_text(root / id / "job.json", altered.dump());
    }
    bool is_there(const std::string& id) { return jobs().find(id) && fs::exists(root / id); }
    std::vector<bool> are_there(const std::vector<std::string>& ids) {
        std::vector<bool> there;
        for (const std::string& id : ids) there.push_back(is_there(id));
        return there;
    }
    // A finished one that takes so much, used later than any before.
    std::string keep(std::uint64_t bytes, const std::string& word = "g") {
        pass();
        const auto job = train(jobs(), word);
        const std::string key = id_of(job);
        write_text(jobs().token_in(key), "x");
        fs::resize_file(jobs().token_in(key), bytes);
        job->end(JobState::finished, "", true);
        return key;
    }
    // It is asked for again.
    void reuse(const std::string& key, const JobPlace& place = some_place) {
        pass();
        const auto job = jobs().begin(place, "g", 10);
        ASSERT_TRUE(job->name(named("g", key)));
        job->reuse();
    }
    // Until what is used now is used later than what was used before.
    static void pass() {
        const auto now = [] {
            const auto since = std::chrono::system_clock::now().time_since_epoch();
            return std::chrono::duration_cast<std::chrono::milliseconds>(since).count();
        };
        const auto before = now();
        ASSERT_TRUE(eventually([&] { return now() > before; }));
    }

    TemporaryFolder root;
    std::shared_ptr<FakeRunner> runner = std::make_shared<FakeRunner>();

  private:
    std::unique_ptr<Jobs> jobs_;
};

// --- by its key ---------------------------------------------------------------------------------

TEST_F(JobsKeptTest, IsFoundByItsKeyByTheNextProcess) {
    const std::string key = new_key();
    auto job = train(jobs(), "g", key, {"12:3", "uuid", "p", 0});
    EXPECT_EQ(jobs().kept(key)->state, JobState::running);  // on the disk before it learns
    write_text(jobs().token_in(key), "a token");
    job->on_compute("int8", "it is the quickest");
    job->on_passes(3);
    job->on_step(1, 10, 0.5, 0.5);
    job->on_step(2, 10, 0.1 + 0.2, std::nan(""));
    job->on_validation(2, 1.5, true);
    job->preview(2, "a jpeg");
    job->end(JobState::finished, "it's \xff done", true);
    const auto before = jobs().find(key);
    job.reset();
    start();
    EXPECT_EQ(to_record(*jobs().find(key)), to_record(*before));
    const json view = jobs().view_with_curve(key).value();
    EXPECT_EQ(view["state"], "finished");
    EXPECT_EQ(view["message"], "it's \xef\xbf\xbd done");
    EXPECT_EQ(view["points"].dump(), "[[1,0.5,0.5],[2,0.30000000000000004,null]]");
    EXPECT_EQ(view["validations"].dump(), "[[2,1.5]]");
    EXPECT_EQ(view["passes"], 3);
    EXPECT_EQ(view["best_step"], 2);
    EXPECT_EQ(view["compute"], "int8");
    EXPECT_EQ(view["compute_choice"], "it is the quickest");
    EXPECT_EQ(
        view["graph"],
        (json{{"node", "12:3"}, {"workflow", "uuid"}, {"prompt", "p"}, {"preview_percent", 5.0}}));
    EXPECT_EQ(view["token"], true);
    EXPECT_EQ(read_text(jobs().token(key).value()), "a token");
    EXPECT_EQ(read_text(jobs().preview(key, 2).value()), "a jpeg");
    EXPECT_EQ(jobs().preview(key, 1), std::nullopt);
    EXPECT_EQ(jobs().of_lineage("lineage of g").size(), 1u);
    EXPECT_TRUE(jobs().of_lineage("another").empty());
}

TEST_F(JobsKeptTest, IsReusedAndUsedLaterThen) {
    const std::string key = train_to_end(jobs(), "g");
    const Job before = *jobs().find(key);
    pass();
    auto job = jobs().begin({"2", "w", "q", 0}, "g", 10);
    const auto kept = job->name(named("g", key));
    ASSERT_TRUE(kept);
    EXPECT_EQ(kept->state, JobState::finished);
    EXPECT_FALSE(has_ended(jobs().find(key)->state));
    EXPECT_THROW(jobs().remove(key), WrongState);  // it is about to be handed on
    job->reuse();
    const Job after = *jobs().find(key);
    EXPECT_EQ(after.state, JobState::finished);
    EXPECT_EQ(after.created, before.created);
    EXPECT_EQ(after.ended, before.ended);
    EXPECT_GT(after.used, before.ended);
    EXPECT_EQ(after.progress.step, 10);
    expect_in("taken from the store", after.message);
    EXPECT_EQ(jobs().view(key)->at("reused"), true);
    EXPECT_EQ(record(key)["used"], after.used);
    EXPECT_EQ(states_in(*jobs().events(key)).back(), "finished");
    EXPECT_TRUE(jobs().events(key)->closed());
    job->end(JobState::failed, "not any more");
    EXPECT_EQ(jobs().find(key)->state, JobState::finished);
    const auto told = jobs().events(key)->last();
    job.reset();
    start();
    EXPECT_EQ(jobs().find(key)->used, after.used);
    EXPECT_EQ(jobs().view(key)->at("reused"), false);  // in another process
    EXPECT_EQ(jobs().events(key)->last(), told);       // nothing is left to tell
}

TEST_F(JobsKeptTest, IsGoneOnWithFromAStep) {
    const std::string key = new_key();
    auto job = train(jobs(), "g", key);
    job->on_step(1, 10, 4, 4);
    job->on_step(2, 10, 3, 3.5);
    job->on_validation(2, 9, true);
    job->on_step(3, 10, 2, 3);
    job->on_validation(3, 8, true);
    job->preview(3, "a jpeg");
    job->end(JobState::stopped, "so far", true);
    const auto created = jobs().find(key)->created;
    job = jobs().begin(some_place, "g", 10);
    const auto kept = job->name(named("g", key));
    ASSERT_TRUE(kept);
    job->start(2, &*kept);
    const Job again = *jobs().find(key);
    EXPECT_EQ(again.state, JobState::queued);
    EXPECT_EQ(again.created, created);
    EXPECT_EQ(again.ended, 0);
    EXPECT_EQ(again.progress.step, 2);
    EXPECT_EQ(again.progress.steps, 10);
    EXPECT_EQ(again.progress.loss, 3);
    EXPECT_EQ(again.progress.smooth_loss, 3.5);
    EXPECT_EQ(again.progress.best_step, std::nullopt);  // that word was lost
    EXPECT_EQ(again.progress.preview_step, 3);
    EXPECT_EQ(read_text(jobs().preview(key, 3).value()), "a jpeg");
    const json view = jobs().view_with_curve(key).value();
    EXPECT_EQ(view["points"].dump(), "[[1,4.0,4.0],[2,3.0,3.5]]");
    EXPECT_EQ(view["validations"].dump(), "[[2,9.0]]");
    ASSERT_TRUE(job->wait(patience));
    job->on_step(3, 10, 1, 2);
    job->end(JobState::finished, "", true);
    EXPECT_EQ(jobs().curve(key).steps().size(), 3u);
    EXPECT_EQ(jobs().list().size(), 1u);
}

TEST_F(JobsKeptTest, KeepsTheBestStepThatWasReached) {
    const std::string key = new_key();
    auto job = train(jobs(), "g", key);
    job->on_step(5, 10, 4, 4);
    job->best_is(3);
    job->end(JobState::stopped, "", true);
    job = jobs().begin(some_place, "g", 10);
    const auto kept = job->name(named("g", key));
    job->start(3, &*kept);
    EXPECT_EQ(jobs().find(key)->progress.best_step, 3);
}

TEST_F(JobsKeptTest, IsGoneOnWithUnderAnotherKey) {
    const std::string shorter = new_key(), longer = new_key();
    auto job = train(jobs(), "g", shorter);
    job->on_compute("int8", "");
    job->on_step(9, 10, 1, 1);
    job->on_step(10, 10, 0.5, 0.75);
    job->preview(10, "a jpeg");
    job->end(JobState::finished, "", true);
    const Job earlier = *jobs().find(shorter);
    job = jobs().begin(some_place, "g", 20);
    EXPECT_FALSE(job->name(named("g", longer, 20)));
    job->start(10, &earlier);
    const Job next = *jobs().find(longer);
    EXPECT_EQ(next.progress.step, 10);
    EXPECT_EQ(next.progress.steps, 20);
    EXPECT_EQ(next.progress.loss, 0.5);
    EXPECT_EQ(next.progress.compute, "int8");
    EXPECT_EQ(next.progress.preview_step, std::nullopt);  // its picture is the other's
    EXPECT_EQ(jobs().curve(longer).steps().size(), 2u);
    EXPECT_EQ(to_record(*jobs().find(shorter)), to_record(earlier));
    job->end(JobState::interrupted, "");
}

TEST_F(JobsKeptTest, BeginsAnewWithNothingOfWhatWasThere) {
    const std::string key = train_to_end(jobs(), "g");
    write_text(root / key / "token.state.safetensors", "a state");
    const auto job = jobs().begin(some_place, "g", 10);
    job->name(named("g", key));
    job->start();
    EXPECT_EQ(jobs().find(key)->progress.step, 0);
    EXPECT_EQ(jobs().find(key)->token, "");
    EXPECT_TRUE(jobs().curve(key).steps().empty());
    EXPECT_FALSE(fs::exists(root / key / "token.safetensors"));
    EXPECT_FALSE(fs::exists(root / key / "token.state.safetensors"));
}

TEST_F(JobsKeptTest, IsTrainedOnceAtATime) {
    const std::string key = new_key();
    const auto first = train(jobs(), "g", key);
    const auto second = jobs().begin({"2", "w", "p", 0}, "g", 10);
    try {
        second->name(named("g", key));
        FAIL() << "trained twice";
    } catch (const WrongState& error) {
        expect_in("already running and writes to " + (root / key).string(), error.what());
    }
    second->end(JobState::failed, "it runs");
    EXPECT_EQ(jobs().find(key)->state, JobState::running);
    EXPECT_EQ(jobs().shown_at("w", "2")->message, "it runs");
}

TEST_F(JobsKeptTest, IsNamedByOneOfSeveralAtOnce) {
    for (int round = 0; round < 20; ++round) {
        const std::string key = new_key();
        std::atomic<int> named_it = 0, refused = 0;
        std::vector<std::unique_ptr<GraphJob>> all;
        for (const char* node : {"1", "2", "3"}) {
            all.push_back(jobs().begin({node, "w", "p", 0}, "g", 10));
        }
        in_threads(3, [&](int thread) {
            try {
                all[static_cast<std::size_t>(thread)]->name(named("g", key));
                ++named_it;
            } catch (const WrongState&) {
                ++refused;
            }
        });
        EXPECT_EQ(named_it, 1);
        EXPECT_EQ(refused, 2);
    }
}

TEST_F(JobsKeptTest, IsNotNamedWhileAnotherProcessTrainsIt) {
    const std::string key = train_to_end(jobs(), "g");
    const auto job = jobs().begin(some_place, "g", 10);
    {
        const FileLock lock(jobs().token_in(key) += ".lock", {"taken", "wait", "zoodip"});
        EXPECT_THROW(job->name(named("g", key)), WrongState);
        EXPECT_THROW(jobs().remove(key), WrongState);
        jobs().clear();
        EXPECT_TRUE(is_there(key));
    }
    EXPECT_TRUE(job->name(named("g", key)));
    job->reuse();
}

TEST_F(JobsKeptTest, ComesAgainWhereItsFolderWasDeleted) {
    auto job = train(jobs(), "g");
    const std::string key = id_of(job);
    fs::remove_all(root / key);
    job->on_step(1, 10, 1, 1);
    job->end(JobState::finished, "", true);
    job.reset();
    EXPECT_EQ(record(key)["state"], "finished");
    EXPECT_EQ(jobs().find(key)->token, "");
    start();
    EXPECT_EQ(jobs().find(key)->state, JobState::finished);
    fs::remove_all(root / key);
    EXPECT_TRUE(jobs().remove(key));
    EXPECT_EQ(jobs().find(key), std::nullopt);
    EXPECT_FALSE(jobs().remove(key));
    EXPECT_FALSE(jobs().show(key, some_place));
    EXPECT_FALSE(fs::exists(root / key));
}

TEST_F(JobsKeptTest, GetsItsTurnOnAFullDisk) {
    const auto first = train(jobs(), "g");
    const auto second = enter(jobs(), "h");
    const FullDisk full(50);
    first->end(JobState::finished, "");
    EXPECT_TRUE(second->wait(patience));
    EXPECT_EQ(second->job().state, JobState::running);
}

TEST_F(JobsKeptTest, IsShownAsFailedWhereTheDiskHasNoRoomForIt) {
    auto job = jobs().begin(some_place, "g", 10);
    {
        const FullDisk full(50);
        job->name(named("g", new_key()));
        EXPECT_THROW(job->start(), StorageError);
        job->end(JobState::failed, "No space left.");
    }
    EXPECT_EQ(jobs().shown_at("w", "1")->message, "No space left.");
    job.reset();
    EXPECT_TRUE(train(jobs(), "h"));
}

// The picture that the record names is there whenever the process is killed.
TEST_F(JobsKeptTest, HasThePictureThatItsRecordNames) {
    const auto job = train(jobs(), "g");
    const std::string key = id_of(job);
    for (const std::int64_t step : {4, 7}) {
        job->preview(step, concat("at ", step));
        EXPECT_EQ(record(key)["progress"]["preview_step"], step);
        EXPECT_EQ(names_in(root / key / "previews").size(), 1u);
    }
    const FullDisk full(3);
    job->preview(9, "too much");
    EXPECT_EQ(jobs().find(key)->progress.preview_step, 7);
    EXPECT_EQ(read_text(jobs().preview(key, 7).value()), "at 7");
}

TEST_F(JobsKeptTest, ChangesNothingAfterItsEnd) {
    const auto job = train(jobs(), "g");
    const std::string key = id_of(job);
    job->on_step(1, 10, 1, 1);
    job->end(JobState::failed, "why");
    const json before = jobs().view_with_curve(key).value();
    const auto told = jobs().events(key)->last();
    job->on_stage("learning");
    job->on_note("a note");
    job->on_start(3, 20);
    job->on_compute("int8", "");
    job->on_forecast(1, 1);
    job->on_passes(9);
    job->on_step(2, 10, 1, 1);
    job->on_validation(2, 1, true);
    job->on_preview(2);
    job->preview(2, "a jpeg");
    job->best_is(2);
    EXPECT_THROW(jobs().stop(key), WrongState);
    EXPECT_EQ(jobs().view_with_curve(key).value(), before);
    EXPECT_EQ(jobs().events(key)->last(), told);
    EXPECT_FALSE(fs::exists(root / key / "previews"));
}

TEST_F(JobsKeptTest, IsFoundByTheNextProcessHoweverItWasKilled) {
    const auto job = train(jobs(), "g");
    const std::string key = id_of(job);
    job->on_step(1, 10, 1, 1);
    job->preview(1, "a jpeg");  // which saves what there is
    job->on_step(2, 10, 1, 1);
    const TemporaryFolder copy;
    fs::copy(root.path(), copy.path(), fs::copy_options::recursive);
    const Jobs next(copy.path(), runner, {}, JobFolders::Sharing::shared);
    EXPECT_EQ(next.find(key)->state, JobState::interrupted);
    EXPECT_EQ(next.find(key)->progress.step, 1);
    EXPECT_EQ(next.curve(key).steps().size(), 1u);
    EXPECT_TRUE(next.preview(key, 1));
    expect_in("queue its graph again", next.find(key)->message);
    EXPECT_EQ(JobFolders(root.path(), JobFolders::Sharing::shared).find(key)->state,
              JobState::running);
}

// --- at a node ----------------------------------------------------------------------------------

TEST_F(JobsKeptTest, IsShownAtTheNodeThatCameLast) {
    const std::string first = train_to_end(jobs(), "g"), second = train_to_end(jobs(), "h");
    EXPECT_EQ(jobs().shown_at("w", "1")->id, second);
    EXPECT_EQ(jobs().shown_at("w", "2"), std::nullopt);
    EXPECT_EQ(jobs().shown_at("", "1"), std::nullopt);
    EXPECT_EQ(jobs().show(first, {"1", "w", "p", 0})->id, first);
    EXPECT_EQ(jobs().shown_at("w", "1")->id, first);
    jobs().show(first, {"2", "w", "p", 0});  // two nodes show one
    jobs().show(first, {"1", "", "p", 0});
    jobs().show(second, {"1", "w", "p", 0});
    const auto expect_shown = [&] {
        EXPECT_EQ(jobs().shown_at("w", "1")->id, second);
        EXPECT_EQ(jobs().shown_at("w", "2")->id, first);
        EXPECT_EQ(jobs().shown_at("", "1")->id, first);
    };
    expect_shown();
    start();
    expect_shown();
    EXPECT_EQ(jobs().show(new_key(), some_place), std::nullopt);
    jobs().remove(first);
    EXPECT_EQ(jobs().shown_at("w", "2"), std::nullopt);
}

TEST_F(JobsKeptTest, IsShownLatestWhateverTheClockSaid) {
    const std::string early = train_to_end(jobs(), "g"), late = train_to_end(jobs(), "h");
    start();
    alter_record(early, [](json& record) {
        record["places"][0]["shown"] = record["places"][0]["shown"].get<std::int64_t>() + 3'600'000;
    });
    start();
    EXPECT_EQ(jobs().shown_at("w", "1")->id, early);
    jobs().show(late, some_place);
    EXPECT_EQ(jobs().shown_at("w", "1")->id, late);
}

TEST_F(JobsKeptTest, IsShownAtTwentyPlacesTheLatestOnes) {
    const std::string key = train_to_end(jobs(), "g");
    for (int node = 2; node <= 21; ++node) {
        jobs().show(key, {std::to_string(node), "w", "p", 0});
        jobs().show(key, {"2", "w", "p", 0});  // one place, however often
    }
    EXPECT_EQ(jobs().find(key)->places.size(), 20u);
    EXPECT_EQ(jobs().shown_at("w", "1"), std::nullopt);
    EXPECT_TRUE(jobs().shown_at("w", "2"));
    EXPECT_TRUE(jobs().shown_at("w", "3"));
    EXPECT_EQ(jobs().view(key)->at("graph")["node"], "2");
}

TEST_F(JobsKeptTest, FindsPlacesOfLongNames) {
    // Two thousand bytes are kept, and the character that the last of them is in is two bytes long.
    const std::string workflow = "w" + std::string(100'000, 'x'), node = "n";
    std::string odd = "o";
    while (odd.size() < 5000) odd += "\xc3\xa9";
    const std::string key = train_to_end(jobs(), "g");
    for (const JobPlace& place : {JobPlace{node, workflow, workflow, 0}, JobPlace{odd, odd, "", 0},
                                  JobPlace{"\xff", "w", "", 0}}) {
        for (int i = 0; i < 2; ++i) jobs().show(key, place);
        EXPECT_EQ(jobs().shown_at(place.workflow, place.node)->id, key);
    }
    EXPECT_EQ(jobs().find(key)->places.size(), 4u);
    EXPECT_LT(fs::file_size(root / key / "job.json"), 20'000u);
    start();
    EXPECT_TRUE(jobs().shown_at(workflow, node));
    EXPECT_TRUE(jobs().shown_at(odd, odd));
}

TEST_F(JobsKeptTest, ShowsWhatBeganInPlaceOfWhatTheNodeShowed) {
    const std::string key = train_to_end(jobs(), "g");
    auto begun = jobs().begin(some_place, "zwx", 600);
    const Job shown = *jobs().shown_at("w", "1");
    EXPECT_EQ(shown.id, id_of(begun));
    EXPECT_EQ(shown.state, JobState::running);
    EXPECT_EQ(shown.request.word, "zwx");
    EXPECT_EQ(shown.progress.steps, 600);
    EXPECT_EQ(shown.id.size(), 16u);
    EXPECT_FALSE(fs::exists(root / shown.id));  // it is no job yet
    begun->end(JobState::failed, "captions: needs one line or five, got 4");
    EXPECT_EQ(jobs().shown_at("w", "1")->message, "captions: needs one line or five, got 4");
    jobs().show(key, some_place);  // in place of what kept it from learning
    EXPECT_EQ(jobs().shown_at("w", "1")->id, key);
    begun = jobs().begin(some_place, "zwx", 600);
    EXPECT_EQ(jobs().find(shown.id), std::nullopt);  // the next attempt replaces the failed one
    auto elsewhere = jobs().begin({"2", "w", "p", 0}, "zwx", 600);
    EXPECT_TRUE(jobs().find(id_of(begun)));
    const std::string unnamed = id_of(begun);
    begun->name(named("zwx", new_key()));
    EXPECT_EQ(jobs().find(unnamed), std::nullopt);
    EXPECT_EQ(jobs().shown_at("w", "1")->id, id_of(begun));
    elsewhere.reset();
    begun.reset();
    start();
    EXPECT_EQ(jobs().shown_at("w", "1")->message,
              "The graph ended without a word on this training.");
    EXPECT_EQ(jobs().shown_at("w", "2"), std::nullopt);  // it never got a key
    EXPECT_EQ(jobs().list().size(), 2u);
}

// --- for space ----------------------------------------------------------------------------------

TEST_F(JobsKeptTest, DropsWhatWasLongestOfNoUse) {
    start({.kept_bytes = 16 * megabyte});
    const std::string a = keep(7 * megabyte), b = keep(7 * megabyte);
    reuse(a);
    const std::string c = keep(7 * megabyte);
    EXPECT_EQ(are_there({a, b, c}), (std::vector<bool>{true, false, true}));
    const JobStore store = jobs().store();
    EXPECT_EQ(store.jobs, 2u);
    EXPECT_GT(store.bytes, 14 * megabyte);
    EXPECT_LT(store.bytes, 14 * megabyte + 20'000);
    EXPECT_EQ(store.limit, 16 * megabyte);
    EXPECT_EQ(names_in(root.path()), (std::set<std::string>{".lock", a, c}));
}

TEST_F(JobsKeptTest, DropsNeitherWhatRunsNorWhatEndedJustNow) {
    start({.kept_bytes = 16 * megabyte});
    const std::string ended = keep(megabyte), running = new_key();
    const auto job = train(jobs(), "r", running);
    write_text(jobs().token_in(running), "x");
    fs::resize_file(jobs().token_in(running), 17 * megabyte);
    const auto second = jobs().begin({"2", "w", "p", 0}, "s", 10);
    second->name(named("s", new_key()));
    second->start();
    second->end(JobState::failed, "");
    EXPECT_EQ(are_there({ended, running, id_of(second)}), (std::vector<bool>{false, true, true}));
    job->end(JobState::finished, "", true);
    EXPECT_EQ(are_there({running, id_of(second)}), (std::vector<bool>{true, false}));
    const std::string last = keep(megabyte);
    EXPECT_EQ(are_there({running, last}), (std::vector<bool>{false, true}));
}

TEST_F(JobsKeptTest, CountsAndDropsAllFilesOfOne) {
    const std::string key = keep(8);
    const auto before = jobs().store().bytes;
    for (const char* name : {"token.best.safetensors", "token.state.500.safetensors",
                             "previews/000001.jpg", "pictures/001.png"}) {
        write_text(root / key / name, "x");
        fs::resize_file(root / key / name, 6 * megabyte);
    }
    EXPECT_EQ(jobs().store().bytes, before + 24 * megabyte);
    jobs().set_store_limit(16);
    EXPECT_EQ(jobs().store().jobs, 0u);
    EXPECT_EQ(jobs().store().bytes, 0u);
    EXPECT_FALSE(fs::exists(root / key));
}

TEST_F(JobsKeptTest, HoldsToALowerLimitAtOnceAndForGood) {
    start({.kept_bytes = 256 * megabyte});
    const std::string a = keep(9 * megabyte), b = keep(9 * megabyte);
    EXPECT_EQ(jobs().store().limit, 256 * megabyte);
    jobs().set_store_limit(16);
    EXPECT_EQ(are_there({a, b}), (std::vector<bool>{false, true}));
    start({.kept_bytes = 256 * megabyte});
    EXPECT_EQ(jobs().store().limit, 16 * megabyte);
    EXPECT_EQ(read_text(root / "store.json"), "{\"limit_mb\":16}\n");
}

TEST_F(JobsKeptTest, RefusesALimitOutOfRange) {
    start({.kept_bytes = 256 * megabyte});
    for (const std::uint64_t limit : {0ull, 15ull, 65537ull, 1ull << 44, ~0ull}) {
        try {
            jobs().set_store_limit(limit);
            ADD_FAILURE() << limit;
        } catch (const Error& error) {
            expect_in(concat("needs a whole number from 16 to 65536; got ", limit), error.what());
        }
    }
    EXPECT_EQ(jobs().store().limit, 256 * megabyte);
    EXPECT_FALSE(fs::exists(root / "store.json"));
    jobs().set_store_limit(65536);
    EXPECT_EQ(jobs().store().limit, 65536 * megabyte);
    {
        const FullDisk full(3);
        EXPECT_THROW(jobs().set_store_limit(20), StorageError);
    }
    EXPECT_EQ(jobs().store().limit, 65536 * megabyte);
}

TEST_F(JobsKeptTest, HasTheUsualLimitWhereTheOneSetIsDamaged) {
    start({.kept_bytes = 256 * megabyte});
    // The last would be 16 MB if it were counted in bytes without a look at its size.
    for (const char* limit :
         {"15", "65537", "1e999", "64.0", "true", "null", "{}", "-64", "17592186044432"}) {
        write_text(root / "store.json", concat("{\"limit_mb\": ", limit, "}"));
        EXPECT_EQ(jobs().store().limit, 256 * megabyte) << limit;
    }
    for (const char* text : {"", "[]", "{", "{}", "\xff"}) {
        write_text(root / "store.json", text);
        EXPECT_EQ(jobs().store().limit, 256 * megabyte) << text;
    }
    write_text(root / "store.json", "{\"limit_mb\": 64}");
    EXPECT_EQ(jobs().store().limit, 64 * megabyte);
}

TEST_F(JobsKeptTest, KeepsSoManyForSoLong) {
    start({.kept = 2});
    const std::string a = keep(1), b = keep(1);
    reuse(a);
    const std::string c = keep(1);
    EXPECT_EQ(are_there({a, b, c}), (std::vector<bool>{true, false, true}));
    const auto back = [](const char* name, int hours) {
        return [=](json& record) {
            record[name] = record[name].get<std::int64_t>() - 3'600'000ll * hours;
        };
    };
    alter_record(a, back("ended", 25));  // but it was used since
    alter_record(c, back("ended", 25));
    start({.kept_for = std::chrono::hours(24)});
    EXPECT_EQ(are_there({a, c}), (std::vector<bool>{true, false}));
    alter_record(a, back("used", 25));
    start({.kept_for = std::chrono::hours(24)});
    EXPECT_FALSE(is_there(a));
}

TEST_F(JobsKeptTest, ForgetsAllThatHaveEnded) {
    const std::string a = keep(1), b = keep(1);
    runner->plan_all({.waits = false});
    const std::string of_api = ended(jobs(), submit(jobs(), "api").id).id;
    const auto running = train(jobs(), "r", new_key(), {"2", "w", "p", 0});
    const auto failed = jobs().begin({"3", "w", "p", 0}, "f", 10);
    failed->end(JobState::failed, "");
    fs::remove_all(root / b);  // deleted by hand
    jobs().clear();
    ASSERT_EQ(jobs().list().size(), 1u);
    EXPECT_EQ(jobs().list()[0].id, id_of(running));
    EXPECT_EQ(names_in(root.path()), (std::set<std::string>{".lock", id_of(running)}));
    EXPECT_EQ(jobs().shown_at("w", "1"), std::nullopt);
    EXPECT_EQ(jobs().store().jobs, 1u);
}

// --- what killed processes leave ----------------------------------------------------------------

TEST_F(JobsKeptTest, RemovesWhatAKilledProcessLeft) {
    const std::string key = keep(1), empty = new_key(), young = new_key(), odd = new_key();
    start();
    const auto age = [&](const fs::path& path) {
        fs::last_write_time(path, fs::file_time_type::clock::now() - std::chrono::minutes(61));
    };
    const std::vector<fs::path> unfinished = {root / "store.json.7-1.tmp",
                                              root / key / "job.json.7-2.tmp",
                                              root / key / "run.json0.partial"};
    for (const fs::path& file : unfinished) write_text(file, "x");
    write_text(root / ".dropped-1" / "run.json", "{}");
    write_text(root / odd / "token.safetensors", "a token");
    for (const std::string& id : {empty, young}) fs::create_directory(root / id);
    start();
    EXPECT_FALSE(fs::exists(root / ".dropped-1"));
    for (const fs::path& file : unfinished) {  // another process may be writing them
        EXPECT_TRUE(fs::exists(file)) << file;
        age(file);
    }
    age(root / empty);
    age(root / odd);
    start();
    for (const fs::path& file : unfinished) EXPECT_FALSE(fs::exists(file)) << file;
    EXPECT_FALSE(fs::exists(root / empty));
    EXPECT_TRUE(fs::exists(root / young));
    EXPECT_TRUE(fs::exists(root / odd / "token.safetensors"));
    EXPECT_TRUE(is_there(key));
}

TEST_F(JobsKeptTest, PassesOverADamagedRecord) {
    const std::string key = keep(1), good = keep(1);
    const json whole = record(key);
    const auto expect_passed_over = [&](const std::string& text) {
        write_text(root / key / "job.json", text);
        start();
        EXPECT_EQ(jobs().list().size(), 1u) << text.substr(0, 100);
        EXPECT_EQ(jobs().kept(key), std::nullopt);
        EXPECT_TRUE(fs::exists(root / key / "token.safetensors"));
    };
    for (const std::string& text :
         {std::string(), std::string(100'000, '['), std::string("\xff\xfe"), std::string("[]"),
          std::string(5u << 20, ' ') + "{}", whole.dump().substr(0, 200)}) {
        expect_passed_over(text);
    }
    for (const auto& [name, value] :
         std::vector<std::pair<const char*, json>>{{"id", good},
                                                   {"id", nullptr},
                                                   {"state", "dancing"},
                                                   {"places", 7},
                                                   {"places", {{{"node", 1}}}},
                                                   {"message", nullptr},
                                                   {"progress", json::array()}}) {
        json damaged = whole;
        damaged[name] = value;
        expect_passed_over(damaged.dump());
    }
    // It can be trained anew.
    auto job = jobs().begin(some_place, "g", 10);
    EXPECT_FALSE(job->name(named("g", key)));
    job->start();
    job->end(JobState::failed, "");
    job.reset();
    start();
    EXPECT_EQ(jobs().list().size(), 2u);
}

// --- two processes ------------------------------------------------------------------------------

class JobsSharedTest : public JobsKeptTest {
  protected:
    // A second process.
    std::unique_ptr<Jobs> other() {
        return std::make_unique<Jobs>(root.path(), runner, JobLimits(),
                                      JobFolders::Sharing::shared);
    }
};

TEST_F(JobsSharedTest, DoesNotTouchWhatTheFirstDoes) {
    runner->plan_all({.deaf = true});
    const Job of_api = submit(jobs(), "a");
    ASSERT_TRUE(runner->waits("a"));
    const auto waiting = enter(jobs(), "g");
    const json before = record(id_of(waiting));
    const auto told = jobs().events(of_api.id)->last();
    {
        const auto second = other();
        EXPECT_EQ(second->find(of_api.id)->state, JobState::running);
        EXPECT_EQ(second->find(id_of(waiting))->state, JobState::queued);
        EXPECT_EQ(runner->begun().size(), 1u);
        for (const std::string& id : {of_api.id, id_of(waiting)}) {
            EXPECT_THROW(second->stop(id), WrongState);
            EXPECT_THROW(second->cancel(id), WrongState);
            EXPECT_THROW(second->remove(id), WrongState);
            EXPECT_TRUE(second->events(id)->closed());
            EXPECT_TRUE(second->show(id, {"9", "w", "p", 0}));
            EXPECT_EQ(second->shown_at("w", "9")->id, id);  // as long as it lives
        }
        EXPECT_TRUE(second->stop_graphs(std::chrono::milliseconds(0)));  // it has none
        try {
            submit(*second, "b");
            FAIL() << "two processes queue jobs";
        } catch (const QueueFull& error) {
            expect_in("another process holds the jobs in " + root.path().string(), error.what());
        }
    }
    EXPECT_EQ(record(id_of(waiting)), before);
    EXPECT_EQ(jobs().events(of_api.id)->last(), told);
    EXPECT_FALSE(waiting->cancel_token().cancelled());
    runner->let("a");
    EXPECT_EQ(ended(jobs(), of_api.id).state, JobState::finished);
}

TEST_F(JobsSharedTest, TrainsTheSecondsGraphsToo) {
    jobs();
    const auto second = other();
    const std::string key = train_to_end(*second, "g");
    EXPECT_EQ(second->find(key)->state, JobState::finished);
    EXPECT_EQ(jobs().find(key), std::nullopt);
    EXPECT_EQ(jobs().kept(key)->state, JobState::finished);
    reuse(key);
    EXPECT_EQ(jobs().find(key)->state, JobState::finished);
}

TEST_F(JobsSharedTest, SeesWhatTheFirstFinishedMeanwhile) {
    const std::string key = new_key();
    const auto job = train(jobs(), "g", key);
    const auto second = other();
    const auto again = second->begin({"2", "w", "p", 0}, "g", 10);
    {
        const FileLock lock(jobs().token_in(key) += ".lock", {"taken", "wait", "zoodip"});
        EXPECT_THROW(again->name(named("g", key)), WrongState);
        EXPECT_EQ(second->kept(key)->state, JobState::running);
    }
    job->end(JobState::finished, "");
    EXPECT_EQ(second->kept(key)->state, JobState::finished);
    EXPECT_EQ(again->name(named("g", key))->state, JobState::finished);
    again->reuse();
    EXPECT_EQ(second->find(key)->state, JobState::finished);
    EXPECT_EQ(second->shown_at("w", "2")->id, key);
    EXPECT_EQ(second->list().size(), 1u);
}

// The first takes up what a process left that was killed, but not what the second trains.
TEST_F(JobsSharedTest, LeavesWhatTheSecondTrainsToIt) {
    const std::string key = new_key(), left = new_key();
    const TemporaryFolder killed;
    {
        Jobs earlier(root.path(), runner, {}, JobFolders::Sharing::shared);
        const auto job = train(earlier, "g", key), other = enter(earlier, "h", left);
        fs::copy(root.path(), killed.path(), fs::copy_options::recursive);
    }
    for (const std::string& id : {key, left}) {
        fs::remove_all(root / id);
        fs::rename(killed / id, root / id);
    }
    const FileLock lock(JobFolders::token_in(root / key) += ".lock", {"taken", "wait", "zoodip"});
    EXPECT_EQ(jobs().find(key)->state, JobState::running);
    EXPECT_EQ(record(key)["state"], "running");
    EXPECT_EQ(jobs().find(left)->state, JobState::interrupted);
}

TEST_F(JobsSharedTest, DropsWithTheFirstForSpace) {
    start({.kept = 1});
    const std::string key = keep(1);
    const auto second = other();
    const std::string last = keep(1);
    EXPECT_FALSE(is_there(key));
    EXPECT_TRUE(second->find(key));  // as far as it knows
    EXPECT_EQ(second->kept(key), std::nullopt);
    EXPECT_TRUE(second->remove(key));
    EXPECT_TRUE(is_there(last));
}

// --- records of earlier versions ----------------------------------------------------------------

const std::string earlier_key = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

// As ComfyUI's nodes wrote it before all jobs were kept alike.
json earlier_record() {
    return json::parse(R"({
        "key": "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "word": "sks", "state": "stopped", "step": 3, "steps": 9,
        "message": "it's done \u00e9", "node": "12:3", "workflow": "uuid", "prompt": "p",
        "preview_percent": 5.0, "preview_step": 2, "passes": 27, "best_step": 2,
        "compute": "int8", "compute_choice": "compute auto takes int8: it is the quickest",
        "lineage": "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc",
        "created": 1796089264.0197046})");
}

class EarlierRecordTest : public JobsKeptTest {
  protected:
    void write(const json& record) {
        fs::remove_all(folder);
        write_text(folder / "run.json", record.dump());
        for (const char* name : {"token.safetensors", "token.state.safetensors"}) {
            write_text(folder / name, name);
        }
        write_text(folder / "preview.jpg", "jpeg");
        Curve curve;
        curve.add_step({1, 0.5, 0.5});
        curve.add_step({2, 0.25, std::nan("")});
        curve.add_validation({0, 1.5});
        curve.write(folder);
    }
    void write_with(const char* name, const json& value) {
        json record = earlier_record();
        record[name] = value;
        write(record);
    }

    const fs::path folder = root / earlier_key;
};

TEST_F(EarlierRecordTest, IsListedAndShownAtItsNode) {
    write(earlier_record());
    const Job job = *jobs().find(earlier_key);
    EXPECT_EQ(jobs().list().size(), 1u);
    EXPECT_EQ(jobs().shown_at("uuid", "12:3")->id, earlier_key);
    EXPECT_EQ(job.lineage, std::string(64, 'c'));
    EXPECT_EQ(jobs().of_lineage(job.lineage).size(), 1u);
    EXPECT_EQ(job.created, 1796089264019);
    EXPECT_GT(job.used, 1'600'000'000'000);  // when run.json was changed last
    const json view = jobs().view_with_curve(earlier_key).value();
    EXPECT_EQ(view["origin"], "graph");
    EXPECT_EQ(view["state"], "stopped");
    EXPECT_EQ(view["word"], "sks");
    EXPECT_EQ(view["step"], 3);
    EXPECT_EQ(view["steps"], 9);
    EXPECT_EQ(view["passes"], 27);
    EXPECT_EQ(view["best_step"], 2);
    EXPECT_EQ(view["compute"], "int8");
    EXPECT_EQ(view["compute_choice"], "compute auto takes int8: it is the quickest");
    EXPECT_EQ(view["message"], "it's done \xc3\xa9");
    EXPECT_EQ(
        view["graph"],
        (json{{"node", "12:3"}, {"workflow", "uuid"}, {"prompt", "p"}, {"preview_percent", 5.0}}));
    EXPECT_EQ(view["preview"]["step"], 2);
    EXPECT_EQ(view["points"].dump(), "[[1,0.5,0.5],[2,0.25,null]]");
    EXPECT_EQ(view["validations"].dump(), "[[0,1.5]]");
    EXPECT_EQ(read_text(jobs().preview(earlier_key, 2).value()), "jpeg");
    EXPECT_EQ(jobs().preview(earlier_key, 3), std::nullopt);
    EXPECT_EQ(read_text(jobs().token(earlier_key).value()), "token.safetensors");
    EXPECT_TRUE(fs::exists(folder / "run.json"));  // to be looked at alters nothing
}

TEST_F(EarlierRecordTest, BecomesOneLikeAllOthersWhenItIsSaved) {
    write(earlier_record());
    jobs().show(earlier_key, {"2", "w", "p", 0});
    EXPECT_FALSE(fs::exists(folder / "run.json"));
    EXPECT_EQ(record(earlier_key)["places"].size(), 2u);
    const Job before = *jobs().find(earlier_key);
    start();
    EXPECT_EQ(to_record(*jobs().find(earlier_key)), to_record(before));
    EXPECT_EQ(jobs().shown_at("uuid", "12:3")->id, earlier_key);
    EXPECT_EQ(read_text(jobs().preview(earlier_key, 2).value()), "jpeg");
}

TEST_F(EarlierRecordTest, IsGoneOnWith) {
    write(earlier_record());
    const auto job = jobs().begin({"12:3", "uuid", "q", 0}, "sks", 9);
    const auto kept = job->name(named("sks", earlier_key, 9));
    ASSERT_TRUE(kept);
    EXPECT_EQ(kept->state, JobState::stopped);
    job->start(2, &*kept);
    EXPECT_EQ(jobs().curve(earlier_key).steps().size(), 2u);
    ASSERT_TRUE(job->wait(patience));
    EXPECT_TRUE(jobs().preview(earlier_key, 2));
    job->preview(5, "another");
    EXPECT_EQ(jobs().preview(earlier_key, 2), std::nullopt);
    EXPECT_FALSE(fs::exists(folder / "preview.jpg"));
}

TEST_F(EarlierRecordTest, IsInterruptedWhereItsProcessWasKilled) {
    for (const char* state : {"preparing", "training"}) {
        write_with("state", state);
        start();
        EXPECT_EQ(jobs().find(earlier_key)->state, JobState::interrupted) << state;
        EXPECT_EQ(jobs().find(earlier_key)->progress.step, 3);
        EXPECT_EQ(record(earlier_key)["state"], "interrupted");
        EXPECT_FALSE(fs::exists(folder / "run.json"));
        EXPECT_TRUE(fs::exists(folder / "token.state.safetensors"));
    }
    for (const char* state : {"finished", "interrupted", "failed"}) {
        write_with("state", state);
        start();
        EXPECT_EQ(name_of(jobs().find(earlier_key)->state), std::string(state));
    }
}

TEST_F(EarlierRecordTest, MayLackWhatYoungerOnesHave) {
    json record = earlier_record();
    for (const char* name :
         {"lineage", "passes", "best_step", "compute", "compute_choice", "preview_step"}) {
        record.erase(name);
    }
    write(record);
    const json view = jobs().view(earlier_key).value();
    EXPECT_TRUE(view["passes"].is_null() && view["compute"].is_null());
    EXPECT_TRUE(view["preview"].is_null());
    EXPECT_TRUE(jobs().of_lineage("").size() == 1);
}

TEST_F(EarlierRecordTest, TellsOfNoPreviewThatIsGone) {
    write(earlier_record());
    fs::remove(folder / "preview.jpg");
    EXPECT_TRUE(jobs().view(earlier_key)->at("preview").is_null());
}

TEST_F(EarlierRecordTest, IsPassedOverWhereAFieldIsWrong) {
    for (const auto& [name, value] : std::vector<std::pair<const char*, json>>{{"key", new_key()},
                                                                               {"key", nullptr},
                                                                               {"state", "dancing"},
                                                                               {"step", -1},
                                                                               {"step", 1.5},
                                                                               {"step", true},
                                                                               {"step", 1ull << 62},
                                                                               {"steps", "9"},
                                                                               {"word", 7},
                                                                               {"message", nullptr},
                                                                               {"created", 1e300},
                                                                               {"created", -1},
                                                                               {"created", "now"},
                                                                               {"node", nullptr},
                                                                               {"workflow", 1}}) {
        write_with(name, value);
        start();
        EXPECT_TRUE(jobs().list().empty()) << name << value;
        EXPECT_TRUE(fs::exists(folder / "run.json"));
    }
    write(earlier_record());
    write_text(folder / "run.json", earlier_record().dump().substr(0, 300));
    start();
    EXPECT_TRUE(jobs().list().empty());
}

}  // namespace
}  // namespace zoodip
