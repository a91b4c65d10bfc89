// What a run leaves on the disk: which states are kept, which is gone on from, what is cleaned up.
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <unistd.h>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "full_disk.h"

#include "core/error.h"
#include "core/log.h"
#include "train/run_files.h"
#include "train/run_log.h"
#include "words/token_file.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class RunFilesTest : public ::testing::Test {
  protected:
    RunFilesTest() {
        fs::create_directories(folder);
        layout.add("sks", "clip_l", 1, 3);
        set_log_sink([this](LogLevel, const std::string& text) { warnings.push_back(text); });
    }
    ~RunFilesTest() override {
        set_log_sink({});
        fs::remove_all(folder);
    }

    // Of two words: a second file beside the first.
    RunFiles files_of_two() const {
        TokenLayout both = layout;
        both.add("other", "clip_l", 1, 3);
        Output output{token};
        output.also = {folder / "other.safetensors"};
        return {output, both, {{"word", "sks"}}, 3};
    }
    RunFiles files(std::int64_t kept, const json& identity = {{"word", "sks"}}) const {
        return {Output{token}, layout, identity, kept};
    }
    static RunState state(std::int64_t step) {
        RunState out;
        out.step = step;
        out.theta = out.m = out.v = at::full({3}, static_cast<double>(step), at::kFloat);
        out.average = at::zeros({3}, at::kDouble);
        return out;
    }
    void keep(const RunFiles& run, std::initializer_list<std::int64_t> steps) const {
        for (const std::int64_t step : steps) run.keep(state(step), {step, state(step).theta, 0});
    }
    std::set<std::string> names() const {
        std::set<std::string> all;
        for (const auto& entry : fs::directory_iterator(folder)) {
            all.insert(entry.path().filename().string());
        }
        return all;
    }
    void write(const char* name, const std::string& text) const {
        std::ofstream(folder / name, std::ios::binary) << text;
    }
    static void cut(const fs::path& file) { fs::resize_file(file, fs::file_size(file) - 1); }
    // The message of the refusal; empty when there is none.
    static std::string refusal(const RunFiles& run) {
        try {
            run.newest();
        } catch (const Error& error) {
            return error.what();
        }
        return "";
    }

    const fs::path folder =
        fs::temp_directory_path() / (std::to_string(getpid()) + "zoodip_run_files");
    const fs::path token = folder / "my.sks.safetensors";
    TokenLayout layout;
    std::vector<std::string> warnings;
};

using Names = std::set<std::string>;

TEST_F(RunFilesTest, KeepsTheWordTheNewestStateAndSoManyOlderOnes) {
    keep(files(3), {5, 10});
    EXPECT_EQ(names(), (Names{"my.sks.safetensors", "my.sks.state.safetensors",
                              "my.sks.state.5.safetensors"}));
    keep(files(3), {15, 20, 100});
    EXPECT_EQ(names(), (Names{"my.sks.safetensors", "my.sks.state.safetensors",
                              "my.sks.state.15.safetensors", "my.sks.state.20.safetensors"}));
    EXPECT_EQ(files(3).newest().state.step, 100);
    EXPECT_TRUE(at::equal(read_token(token).vectors.at("clip_l")[0], state(100).theta));
    EXPECT_EQ(read_token(token).metadata.at("step"), "100");
}

TEST_F(RunFilesTest, EachWordHasAFileAndAllHaveOneState) {
    const RunFiles run = files_of_two();
    RunState at;
    at.step = 5;
    at.theta = at.m = at.v = at::arange(6, at::kFloat);
    at.average = at::zeros({6}, at::kDouble);
    run.keep(at, {5, at.theta, 0});
    run.write_best({5, at.theta, 0.5});
    EXPECT_EQ(names(),
              (Names{"my.sks.safetensors", "my.sks.state.safetensors", "my.sks.best.safetensors",
                     "other.safetensors", "other.best.safetensors"}));
    const TokenFile first = read_token(token), second = read_token(folder / "other.safetensors");
    EXPECT_EQ(first.word, "sks");
    EXPECT_EQ(second.word, "other");
    EXPECT_TRUE(at::equal(first.vectors.at("clip_l")[0], at.theta.slice(0, 0, 3)));
    EXPECT_TRUE(at::equal(second.vectors.at("clip_l")[0], at.theta.slice(0, 3, 6)));
    EXPECT_TRUE(at::equal(run.newest().state.theta, at.theta));
    // Of a run of the other word alone.
    write("other.state.safetensors", "stopped");
    write("other.safetensors.123-0.tmp", "half");
    run.forget_earlier();
    EXPECT_EQ(names(), (Names{"my.sks.safetensors", "other.safetensors"}));
}

TEST_F(RunFilesTest, NeedsAsManyFilesAsWords) {
    TokenLayout both = layout;
    both.add("other", "clip_l", 1, 3);
    EXPECT_THROW(RunFiles(Output{token}, both, {{"word", "sks"}}, 3), Error);
}

TEST_F(RunFilesTest, FewerMayBeKeptLater) {
    keep(files(4), {5, 10, 15, 20});
    keep(files(2), {25});
    EXPECT_EQ(names(), (Names{"my.sks.safetensors", "my.sks.state.safetensors",
                              "my.sks.state.20.safetensors"}));
    keep(files(1), {30});
    EXPECT_EQ(names(), (Names{"my.sks.safetensors", "my.sks.state.safetensors"}));
}

TEST_F(RunFilesTest, AStateThatIsWrittenAgainTakesNoSecondPlace) {
    keep(files(2), {5, 10, 10});
    EXPECT_EQ(names(), (Names{"my.sks.safetensors", "my.sks.state.safetensors",
                              "my.sks.state.5.safetensors"}));
}

TEST_F(RunFilesTest, ADamagedStateIsPassedOverForTheNewestOlderOne) {
    keep(files(3), {9, 10, 15});
    cut(state_path(token));
    EXPECT_EQ(files(3).newest().state.step, 10);
    ASSERT_EQ(warnings.size(), 1u);
    EXPECT_NE(warnings[0].find("my.sks.state.safetensors"), std::string::npos) << warnings[0];
    EXPECT_NE(warnings[0].find("passed over"), std::string::npos) << warnings[0];
    cut(folder / "my.sks.state.10.safetensors");
    EXPECT_EQ(files(3).newest().state.step, 9);
    // The next state takes the place of the damaged one, which is not kept.
    keep(files(3), {10});
    EXPECT_EQ(files(3).newest().state.step, 10);
}

TEST_F(RunFilesTest, WithNothingButDamagedStatesItSaysWhatToDo) {
    keep(files(2), {5, 10});
    cut(state_path(token));
    cut(folder / "my.sks.state.5.safetensors");
    const std::string message = refusal(files(2));
    EXPECT_NE(message.find("my.sks.state.safetensors"), std::string::npos) << message;
    EXPECT_NE(message.find("`overwrite`"), std::string::npos) << message;
    EXPECT_NE(refusal({Output{folder / "other.safetensors"}, layout, {}, 2}).find("no stopped run"),
              std::string::npos);
}

TEST_F(RunFilesTest, TheStateOfAnotherRunIsRefusedByItsDifference) {
    const json was = {{"pictures", {{{"name", "a"}, {"captions", {"x", "y"}}}}},
                      {"settings", {{"mu", 0.1}, {"seed", 1}}},
                      {"schedule", "abc"}};
    keep(files(2, was), {5});
    EXPECT_EQ(refusal(files(2, was)), "");
    const auto difference = [&](const char* where, const json& now) {
        json asked = was;
        if (now.is_null()) {
            asked.erase(where);
        } else {
            asked[json::json_pointer(where)] = now;
        }
        return refusal(files(2, asked));
    };
    const std::vector<std::pair<std::string, std::string>> cases = {
        {difference("/settings/seed", 2), "settings.seed was 1, now 2."},
        {difference("/pictures/0/name", "b"), "pictures[0].name was \"a\", now \"b\"."},
        {difference("/pictures/0/captions", {"x"}), "pictures[0].captions were 2, now 1."},
        {difference("/pictures", {1, 2, 3}), "pictures were 1, now 3."},
        {difference("schedule", nullptr), "schedule was \"abc\", now null."},
        {difference("/start", "def"), "start was null, now \"def\"."}};
    for (const auto& [message, part] : cases) {
        EXPECT_NE(message.find(part), std::string::npos) << message << "\nlacks " << part;
        EXPECT_NE(message.find("`overwrite`"), std::string::npos) << message;
    }
    EXPECT_TRUE(warnings.empty());  // it is whole, so no older one is looked at
}

// A file may have a name that is no UTF-8; JSON may not.
TEST_F(RunFilesTest, BytesThatAreNoUtf8AreReplacedOnceAndForAll) {
    const json identity = {{"pictures", {{{"name", "caf\xe9.png"}}}}};
    keep(files(2, identity), {5});
    EXPECT_EQ(refusal(files(2, identity)), "");
    EXPECT_EQ(files(2, identity).identity()["pictures"][0]["name"], "caf\xef\xbf\xbd.png");
    EXPECT_EQ(as_line({{"file", "caf\xe9"}}), "{\"file\":\"caf\xef\xbf\xbd\"}");
}

TEST_F(RunFilesTest, TheBestWordHasItsOwnStepAndLoss) {
    const LossWatch::Word best = {7, state(7).theta, 0.1 + 0.2};
    files(2).write_best(best);
    const TokenFile found = read_token(best_path(token));
    EXPECT_EQ(best_path(token).filename(), "my.sks.best.safetensors");
    EXPECT_EQ(found.metadata.at("step"), "7");
    EXPECT_EQ(json::parse(found.metadata.at("validation_loss")).get<double>(), 0.1 + 0.2);
    EXPECT_TRUE(at::equal(found.vectors.at("clip_l")[0], best.vector));
}

TEST_F(RunFilesTest, AFinishedRunLeavesItsWordAndOneStateToGoOnFrom) {
    keep(files(3), {5, 10, 15});
    EXPECT_FALSE(finished_step(token));
    files(3).finish(state(20), {20, state(20).theta, 0});
    EXPECT_EQ(names(), (Names{"my.sks.safetensors", "my.sks.state.safetensors"}));
    EXPECT_EQ(finished_step(token), 20);
    EXPECT_EQ(files(3).newest().state.step, 20);
    // With the word of another step than its last, it is finished at its last all the same.
    files(3).finish(state(20), {12, state(12).theta, 0.5});
    EXPECT_EQ(read_token(token).metadata.at("step"), "12");
    EXPECT_EQ(finished_step(token), 20);
}

TEST_F(RunFilesTest, AStateIsCopiedForAnotherRunToGoOnFrom) {
    const fs::path other = folder / "other.safetensors";
    EXPECT_FALSE(copy_state(token, other));
    files(1).finish(state(20), {20, state(20).theta, 0});
    files(1).write_best({7, state(7).theta, 1});
    EXPECT_TRUE(copy_state(token, other));
    EXPECT_EQ(names(),
              (Names{"my.sks.safetensors", "my.sks.state.safetensors", "my.sks.best.safetensors",
                     "other.state.safetensors", "other.best.safetensors"}));
    EXPECT_EQ(saved_run(other)->state.step, 20);
    EXPECT_FALSE(saved_run(folder / "none.safetensors"));
    EXPECT_THROW(copy_state(token, folder / "no" / "other.safetensors"), Error);
}

TEST_F(RunFilesTest, HowManyStepsARunMakesAndWhichWordItTakesMayDiffer) {
    const json was = {{"settings", {{"steps", 80}, {"take", "last"}, {"seed", 1}}}};
    json now = was;
    now["settings"]["steps"] = 120;
    now["settings"]["take"] = "best";
    keep(files(2, was), {5});
    EXPECT_EQ(refusal(files(2, now)), "");
    now["settings"]["seed"] = 2;
    EXPECT_NE(refusal(files(2, now)).find("settings.seed was 1, now 2"), std::string::npos);
}

TEST_F(RunFilesTest, WhatAKilledProcessLeftGoesAndNothingElse) {
    const Names others = {"my.other.safetensors", "my.sks2.state.safetensors", "my.sks.txt",
                          "my.other.state.safetensors.1-0.tmp", "my.sks.state.x.safetensors"};
    for (const std::string& name : others) write(name.c_str(), "kept");
    for (const char* name : {"my.sks.safetensors.12-3.tmp", "my.sks.state.safetensors.12-3.tmp",
                             "my.sks.best.safetensors.12-3.tmp"}) {
        write(name, "half");
    }
    keep(files(3), {5, 10});
    files(3).write_best({7, state(7).theta, 1});
    Names expected = others;
    for (const char* name : {"my.sks.safetensors", "my.sks.state.safetensors",
                             "my.sks.best.safetensors", "my.sks.state.5.safetensors"}) {
        expected.insert(name);
    }
    files(3).forget_leftovers();
    EXPECT_EQ(names(), expected);
    expected.erase("my.sks.state.safetensors");
    expected.erase("my.sks.state.5.safetensors");
    files(3).forget_states();
    EXPECT_EQ(names(), expected);
    expected.erase("my.sks.best.safetensors");
    files(3).forget_earlier();
    EXPECT_EQ(names(), expected);
}

// ---------------------------------------------------------------------------------------- the log

std::string text_of(const fs::path& file) {
    std::ifstream in(file);
    return {std::istreambuf_iterator<char>(in), {}};
}

TEST_F(RunFilesTest, TheLogIsAnObjectALine) {
    const fs::path file = folder / "log";
    {
        RunLog log(file, false);
        log.write({{"event", "start"}});
        EXPECT_EQ(text_of(file), "{\"event\":\"start\"}\n");  // flushed
        log.write({{"event", "step"}, {"step", 1}});
    }
    RunLog(file, true).write({{"event", "end"}});
    EXPECT_EQ(text_of(file),
              "{\"event\":\"start\"}\n{\"event\":\"step\",\"step\":1}\n{\"event\":\"end\"}\n");
    RunLog(file, false).write({{"event", "start"}});
    EXPECT_EQ(text_of(file), "{\"event\":\"start\"}\n");
    RunLog().write({{"event", "start"}});
    EXPECT_FALSE(RunLog().on());
}

TEST_F(RunFilesTest, ALineThatWasCutOffIsNotGoneOnFrom) {
    for (const auto& [before, kept] :
         std::vector<std::pair<std::string, std::string>>{{"{\"a\":1}\n{\"b\":", "{\"a\":1}\n"},
                                                          {"{\"a\":", ""},
                                                          {"{\"a\":1}\n", "{\"a\":1}\n"},
                                                          {"", ""}}) {
        write("log", before);
        RunLog(folder / "log", true).write({{"c", 3}});
        EXPECT_EQ(text_of(folder / "log"), kept + "{\"c\":3}\n");
    }
}

TEST_F(RunFilesTest, AFullDiskEndsTheLogWithOneWarning) {
    RunLog log(folder / "log", false);
    {
        const FullDisk full(100);
        for (int i = 0; i < 20; ++i) log.write({{"event", "step"}, {"step", i}});
    }
    ASSERT_EQ(warnings.size(), 1u);
    EXPECT_NE(warnings[0].find((folder / "log").string()), std::string::npos) << warnings[0];
    EXPECT_FALSE(log.on());
    EXPECT_LE(fs::file_size(folder / "log"), 100u);
}

TEST_F(RunFilesTest, ALogThatCannotBeOpenedIsRefused) {
    EXPECT_THROW(RunLog(folder / "none" / "log", false), Error);
    EXPECT_THROW(RunLog(folder, true), Error);
}

}  // namespace
}  // namespace zoodip
