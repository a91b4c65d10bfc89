// Event streams at the server's sockets: all events in order, none twice, to the end.
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "in_threads.h"
#include "server_fixture.h"

namespace zoodip {
namespace {

struct SentEvent {
    std::uint64_t id = 0;
    std::string kind, data;
};

// Reads the events of one stream as a browser does.
class EventReader {
  public:
    EventReader(int port, const std::string& id, std::uint64_t after = 0) : client_(port) {
        client_.get("/v1/jobs/" + id + "/events",
                    after > 0 ? concat("Last-Event-ID: ", after, "\r\n") : "");
        head_ = client_.response_head();
    }
    const RawResponse& head() const { return head_; }
    RawClient& client() { return client_; }
    // Whether a comment comes.
    bool is_kept_open() {
        const auto piece = client_.chunk();
        return piece && piece->starts_with(":");
    }
    // The next event; nothing at the end.
    std::optional<SentEvent> next() {
        for (;;) {
            const std::size_t blank = text_.find("\n\n");
            if (blank == std::string::npos) {
                const auto piece = client_.chunk();
                if (!piece) return std::nullopt;
                text_ += *piece;
                continue;
            }
            const std::string block = text_.substr(0, blank);
            text_.erase(0, blank + 2);
            if (!block.starts_with(":")) return parsed(block);
        }
    }
    std::vector<SentEvent> rest() {
        std::vector<SentEvent> events;
        while (auto event = next()) events.push_back(*std::move(event));
        return events;
    }

  private:
    static SentEvent parsed(const std::string& block) {
        SentEvent event;
        std::istringstream lines(block);
        for (std::string line; std::getline(lines, line);) {
            const std::size_t colon = line.find(": ");
            require(colon != std::string::npos, "not a field of an event: ", line);
            const std::string name = line.substr(0, colon), value = line.substr(colon + 2);
            if (name == "id") event.id = std::stoull(value);
            if (name == "event") event.kind = value;
            if (name == "data") event.data = value;
        }
        return event;
    }

    RawClient client_;
    RawResponse head_;
    std::string text_;
};

class ServerEventsTest : public ServerFixture {
  protected:
    std::string running_job(const std::string& word) {
        const std::string id = submit(jobs, word).id;
        EXPECT_TRUE(runner->waits(word));
        return id;
    }
    EventReader follow(const std::string& id, std::uint64_t after = 0) {
        if (server == nullptr) start();
        return {server->port(), id, after};
    }
    void tell(const std::string& id, int first, int last) {
        for (int i = first; i <= last; ++i) jobs.events(id)->append("stage", {{"stage", i}});
    }
};

void expect_whole(const std::vector<SentEvent>& events, std::uint64_t first = 1) {
    for (const SentEvent& event : events) EXPECT_EQ(event.id, first++);
    ASSERT_FALSE(events.empty());
    EXPECT_EQ(events.back().kind, "state");
    EXPECT_EQ(parse_json(events.back().data)["state"], "finished");
}

TEST_F(ServerEventsTest, AreSentUntilTheJobEnds) {
    const std::string id = running_job("a");
    EventReader reader = follow(id);
    EXPECT_EQ(reader.head().status, 200);
    EXPECT_EQ(reader.head().headers.at("content-type"), "text/event-stream");
    EXPECT_EQ(reader.head().headers.at("cache-control"), "no-store");
    EXPECT_EQ(reader.next()->data, R"({"message":"","state":"queued"})");
    runner->let("a");
    expect_whole(reader.rest(), 2);
    reader.client().get("/v1/health");  // the connection is as good as before
    EXPECT_EQ(reader.client().response().status, 200);
    expect_whole(follow(id).rest());  // and so it is afterwards
    EXPECT_TRUE(follow(id, 1000).rest().empty());
}

TEST_F(ServerEventsTest, HaveNoGapHoweverOftenAReaderComesBack) {
    const std::string id = running_job("a");
    start();
    std::vector<SentEvent> all;
    in_threads(2, [&](int thread) {
        if (thread == 0) {
            tell(id, 1, 400);
            runner->let("a");
            return;
        }
        for (bool more = true; more;) {
            EventReader reader = follow(id, all.empty() ? 0 : all.back().id);
            for (int i = 0; i < 37 && more; ++i) {
                auto event = reader.next();
                more = event.has_value();
                if (more) all.push_back(*std::move(event));
            }
        }
    });
    EXPECT_GT(all.size(), 400u);
    expect_whole(all);
}

// However an end falls between a reader's looks.
TEST_F(ServerEventsTest, EndWithTheEndOfTheJob) {
    runner->plan_all({.waits = false});
    start();
    for (int i = 0; i < 15; ++i) {
        const std::string id = submit(jobs, "a").id;
        std::vector<std::vector<SentEvent>> read(4);
        in_threads(4,
                   [&](int thread) { read[static_cast<std::size_t>(thread)] = follow(id).rest(); });
        for (const auto& events : read) expect_whole(events);
    }
}

TEST_F(ServerEventsTest, AreServedToSoManyAtATime) {
    limits.streams = 1;
    const std::string id = running_job("a");
    {
        EventReader first = follow(id);
        EXPECT_EQ(first.head().status, 200);
        EventReader second = follow(id);
        EXPECT_EQ(second.head().status, 503);
        EXPECT_NE(second.head().headers.at("retry-after"), "");
    }
    // Its place is free once the server sees that it is gone.
    EXPECT_TRUE(eventually([&] { return follow(id).head().status == 200; }));
}

TEST_F(ServerEventsTest, AreServedToAsManyAsMay) {
    const std::string id = running_job("a");
    std::vector<EventReader> readers;
    for (std::size_t i = 0; i < limits.streams; ++i) {
        readers.push_back(follow(id));
        ASSERT_EQ(readers.back().head().status, 200);
    }
    RawClient client = connect();
    for (int i = 0; i < 3; ++i) {
        RawClient refused = connect();
        refused.get("/v1/jobs/" + id + "/events", "Connection: close\r\n");
        EXPECT_EQ(refused.response().status, 503);
        EXPECT_TRUE(refused.ends());
    }
    client.get("/v1/health");
    EXPECT_EQ(client.response().status, 200);
    runner->let("a");
    for (EventReader& reader : readers) expect_whole(reader.rest());
}

TEST_F(ServerEventsTest, AreKeptOpenWithComments) {
    limits.heartbeat = std::chrono::milliseconds(1);
    const std::string id = running_job("a");
    EventReader reader = follow(id, jobs.events(id)->last());
    EXPECT_TRUE(reader.is_kept_open());
    EXPECT_TRUE(reader.is_kept_open());
    tell(id, 1, 1);
    EXPECT_EQ(reader.next()->kind, "stage");
}

TEST_F(ServerEventsTest, EndWithTheServer) {
    const std::string id = running_job("a");
    std::vector<EventReader> readers;
    for (int i = 0; i < 3; ++i) {
        readers.push_back(follow(id));
        EXPECT_TRUE(readers.back().next());
    }
    server.reset();
    for (EventReader& reader : readers) {
        EXPECT_THROW(reader.rest(), Error);  // cut off: it is to come back
    }
    EXPECT_EQ(jobs.find(id)->state, JobState::running);
}

TEST_F(ServerEventsTest, AreNotForHeadNorForUnknownJobs) {
    const std::string id = running_job("a");
    RawClient client = connect();
    client.send(client.request("HEAD", "/v1/jobs/" + id + "/events") +
                client.request("GET", "/v1/jobs/x/events") +
                client.request("GET", "/v1/jobs/" + id + "/events", "Last-Event-ID: x\r\n"));
    const RawResponse head = client.response(/*head_only=*/true);
    EXPECT_EQ(head.status, 200);
    EXPECT_EQ(head.headers.at("content-type"), "text/event-stream");
    EXPECT_EQ(client.response().status, 404);
    EXPECT_EQ(client.response().status, 400);
}

TEST_F(ServerEventsTest, EndWithTheJobThatIsDeleted) {
    const std::string id = running_job("a");
    EventReader reader = follow(id);
    tell(id, 1, 100);
    finish(id);
    jobs.remove(id);
    const auto events = reader.rest();
    ASSERT_FALSE(events.empty());
    std::uint64_t expected = 0;
    for (const SentEvent& event : events) EXPECT_EQ(event.id, ++expected);
}

}  // namespace
}  // namespace zoodip
