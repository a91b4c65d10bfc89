// The events of a job: numbered without a gap, whatever the disk and the readers do.
#include <atomic>
#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "eventually.h"
#include "full_disk.h"
#include "in_threads.h"
#include "temporary_folder.h"

#include "core/json.h"
#include "jobs/event_log.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;

std::string whole_line(int id) {
    return concat(R"({"id":)", id, R"(,"event":"step","data":{"step":)", id, "}}\n");
}

void append_steps(EventLog& log, int first, int last) {
    for (int step = first; step <= last; ++step) log.append("step", {{"step", step}});
}

// Expects the events first .. last, each with its own step.
void expect_steps(const std::vector<JobEvent>& events, int first, int last) {
    ASSERT_EQ(events.size(), static_cast<std::size_t>(last - first + 1));
    for (int id = first; id <= last; ++id) {
        const JobEvent& event = events[static_cast<std::size_t>(id - first)];
        EXPECT_EQ(event.id, static_cast<std::uint64_t>(id));
        EXPECT_EQ(event.kind, "step");
        EXPECT_EQ(event.data, concat(R"({"step":)", id, "}"));
    }
}

TEST(EventLog, NumbersFromOneAndReadsBehindANumber) {
    const TemporaryFolder folder;
    EventLog log(folder / "events.jsonl");
    EXPECT_EQ(log.last(), 0u);
    EXPECT_TRUE(log.read(0, 10).empty());
    append_steps(log, 1, 5);
    EXPECT_EQ(log.last(), 5u);
    expect_steps(log.read(0, 10), 1, 5);
    expect_steps(log.read(2, 10), 3, 5);
    expect_steps(log.read(2, 2), 3, 4);
    EXPECT_TRUE(log.read(5, 10).empty());
    EXPECT_TRUE(log.read(~std::uint64_t{0}, 10).empty());
    EXPECT_EQ(read_text(folder / "events.jsonl").substr(0, whole_line(1).size()), whole_line(1));
}

TEST(EventLog, GoesOnInAnotherProcess) {
    const TemporaryFolder folder;
    { append_steps(*std::make_unique<EventLog>(folder / "events.jsonl"), 1, 3); }
    EventLog log(folder / "events.jsonl");
    EXPECT_EQ(log.last(), 3u);
    append_steps(log, 4, 4);
    expect_steps(log.read(0, 10), 1, 4);
    expect_steps(EventLog(folder / "events.jsonl").read(0, 10), 1, 4);
}

TEST(EventLog, DropsALastLineThatWasCutOffAndWritesOverIt) {
    for (const std::string& torn :
         {whole_line(3).substr(0, 12), whole_line(3).substr(0, whole_line(3).size() - 1),
          std::string("{"), std::string(3000, 'x'), std::string(500, '\0'),
          "{\"id\":3}\n" + whole_line(4), whole_line(4), std::string("[3]\n")}) {
        const TemporaryFolder folder;
        write_text(folder / "events.jsonl", whole_line(1) + whole_line(2) + torn);
        EventLog log(folder / "events.jsonl");
        EXPECT_EQ(log.last(), 2u) << torn;
        append_steps(log, 3, 3);
        EXPECT_EQ(read_text(folder / "events.jsonl"), whole_line(1) + whole_line(2) + whole_line(3))
            << torn;
        expect_steps(log.read(0, 10), 1, 3);
    }
}

TEST(EventLog, CatchesUpFromTheFileBeyondWhatIsInMemory) {
    const TemporaryFolder folder;
    EventLog log(folder / "events.jsonl");
    append_steps(log, 1, 200);
    expect_steps(log.read(0, 1000), 1, 200);
    expect_steps(log.read(17, 50), 18, 67);
    expect_steps(log.read(190, 1000), 191, 200);
    const EventLog again(folder / "events.jsonl");
    expect_steps(again.read(0, 1000), 1, 200);
    std::vector<JobEvent> all;  // as a stream reads
    for (std::uint64_t after = 0; after < 200; after = all.back().id) {
        for (JobEvent& event : again.read(after, 7)) all.push_back(std::move(event));
    }
    expect_steps(all, 1, 200);
}

// It is in the file before it is flushed; its number may yet be another's.
TEST(EventLog, ShowsNothingThatIsInTheFileOnly) {
    const TemporaryFolder folder;
    EventLog log(folder / "events.jsonl");
    append_steps(log, 1, 100);
    write_text(folder / "events.jsonl", read_text(folder / "events.jsonl") + whole_line(101));
    expect_steps(log.read(0, 1000), 1, 100);
}

TEST(EventLog, WaitsUntilThereIsOneOrNoneWillFollow) {
    const TemporaryFolder folder;
    EventLog log(folder / "events.jsonl");
    EXPECT_FALSE(log.wait(0, std::chrono::milliseconds(1)));
    std::atomic<bool> told = false;
    in_threads(2, [&](int thread) {
        if (thread == 0) {
            told = log.wait(0, patience);
        } else {
            append_steps(log, 1, 1);
        }
    });
    EXPECT_TRUE(told);
    EXPECT_TRUE(log.wait(0, std::chrono::milliseconds(0)));
    EXPECT_FALSE(log.wait(1, std::chrono::milliseconds(1)));
    told = false;
    in_threads(2, [&](int thread) {
        if (thread == 0) {
            told = log.wait(1, patience);
        } else {
            log.close();
        }
    });
    EXPECT_TRUE(told);
    EXPECT_TRUE(log.closed());
    EXPECT_EQ(log.last(), 1u);
}

TEST(EventLog, GivesEveryReaderAllInOrderWhileItGrows) {
    constexpr int writers = 2, each = 100, readers = 3;
    const TemporaryFolder folder;
    EventLog log(folder / "events.jsonl");
    std::atomic<int> writing = writers;
    std::vector<std::vector<JobEvent>> read(readers);
    in_threads(writers + readers, [&](int thread) {
        if (thread < writers) {
            for (int i = 0; i < each; ++i) log.append("stage", {{"stage", thread}});
            if (--writing == 0) log.close();
            return;
        }
        auto& mine = read[static_cast<std::size_t>(thread - writers)];
        for (std::uint64_t after = 0; after < writers * each; after = mine.size()) {
            if (!log.wait(after, patience)) return;
            for (JobEvent& event : log.read(after, 16)) mine.push_back(std::move(event));
        }
    });
    for (const auto& events : read) {
        ASSERT_EQ(events.size(), std::size_t{writers * each});
        for (std::size_t i = 0; i < events.size(); ++i) EXPECT_EQ(events[i].id, i + 1);
    }
}

TEST(EventLog, DropsAnEventOnAFullDiskAndGoesOn) {
    const TemporaryFolder folder;
    EventLog log(folder / "events.jsonl");
    append_steps(log, 1, 2);
    {
        const FullDisk full(whole_line(1).size() * 2 + 10);
        append_steps(log, 3, 3);
        EXPECT_EQ(log.last(), 2u);
        expect_steps(EventLog(folder / "events.jsonl").read(0, 10), 1, 2);
    }
    append_steps(log, 3, 4);
    expect_steps(log.read(0, 10), 1, 4);
    expect_steps(EventLog(folder / "events.jsonl").read(0, 10), 1, 4);
}

TEST(EventLog, OutlivesItsFolder) {
    const TemporaryFolder folder;
    fs::create_directory(folder / "job");
    EventLog log(folder / "job/events.jsonl");
    append_steps(log, 1, 100);
    fs::remove_all(folder / "job");
    append_steps(log, 101, 101);
    EXPECT_EQ(log.last(), 100u);
    EXPECT_TRUE(log.read(0, 10).empty());
    expect_steps(log.read(90, 10), 91, 100);
}

TEST(EventLog, TakesAnyText) {
    const TemporaryFolder folder;
    EventLog log(folder / "events.jsonl");
    log.append("state", {{"message", "two\nlines \xff \u00e9"}});
    const EventLog again(folder / "events.jsonl");
    for (const EventLog* one : {&std::as_const(log), &again}) {
        const auto events = one->read(0, 10);
        ASSERT_EQ(events.size(), 1u);
        EXPECT_EQ(events[0].data.find('\n'), std::string::npos);
        EXPECT_EQ(parse_json(events[0].data)["message"], "two\nlines \ufffd \u00e9");
    }
}

}  // namespace
}  // namespace zoodip
