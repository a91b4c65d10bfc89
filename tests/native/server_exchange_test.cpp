// Requests and events as the API sees them, without sockets.
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include <gtest/gtest.h>

#include "temporary_folder.h"

#include "server/exchange.h"

namespace zoodip {
namespace {

std::optional<std::string> query(const std::string& target, std::string_view name) {
    HttpRequest request;
    request.head.target = target;
    return request.query(name);
}

TEST(HttpQuery, HasWhatStandsBehindItsName) {
    EXPECT_EQ(query("/v1/jobs", "node"), std::nullopt);
    EXPECT_EQ(query("/v1/jobs?", "node"), std::nullopt);
    EXPECT_EQ(query("/v1/jobs?workflow=w", "node"), std::nullopt);
    EXPECT_EQ(query("/v1/jobs?node=12", "node"), "12");
    EXPECT_EQ(query("/v1/jobs?workflow=w&node=12&more=1", "node"), "12");
    EXPECT_EQ(query("/v1/jobs?node=12&node=13", "node"), "12");
    EXPECT_EQ(query("/v1/jobs?node=", "node"), "");
    EXPECT_EQ(query("/v1/jobs?node", "node"), "");
    EXPECT_EQ(query("/v1/jobs?&&node=1", "node"), "1");
    EXPECT_EQ(query("/v1/jobs?nodes=1&Node=2", "node"), std::nullopt);
    EXPECT_EQ(query("/v1/jobs?node=a=b?c", "node"), "a=b?c");
}

TEST(HttpQuery, IsDecoded) {
    EXPECT_EQ(query("/?node=1%3a2+b%2Bc%20%26d%3D", "node"), "1:2 b+c &d=");
    EXPECT_EQ(query("/?workflow=gr%C3%bc%c3%9fe", "workflow"),
              "gr\xc3\xbc\xc3\x9f"
              "e");
    EXPECT_EQ(query("/?n%6fde=1", "node"), "1");
    EXPECT_EQ(query("/?no+de=1", "no de"), "1");
    EXPECT_EQ(query("/?node=%25%32%35", "node"), "%25");  // once
    EXPECT_EQ(query("/?node=a%00b", "node"), std::string("a\0b", 3));
}

TEST(HttpQuery, RefusesWhatIsNoEscapeAndNoText) {
    for (const char* bad : {"%", "%4", "%4g", "%g4", "a%", "a%4", "%%41", "% 41", "%-1", "%ff",
                            "%c3", "%c3%28", "%ed%a0%80"}) {
        try {
            query(std::string("/?node=") + bad, "node");
            ADD_FAILURE() << bad;
        } catch (const HttpError& error) {
            EXPECT_EQ(error.status(), 400) << bad;
        }
    }
    EXPECT_EQ(query("/?node=%41", "node"), "A");
}

TEST(NextEvents, ComeInOrderUntilNoneWillFollow) {
    const TemporaryFolder root;
    EventStream stream{std::make_shared<EventLog>(root / "events.jsonl"), 0, nullptr};
    EXPECT_EQ(next_events(stream), "");
    stream.log->append("state", {{"state", "queued"}});
    stream.log->append("note", {{"text", "two\nlines"}});
    EXPECT_EQ(next_events(stream),
              "id: 1\nevent: state\ndata: {\"state\":\"queued\"}\n\n"
              "id: 2\nevent: note\ndata: {\"text\":\"two\\nlines\"}\n\n");
    EXPECT_EQ(stream.after, 2u);
    EXPECT_EQ(next_events(stream), "");
    stream.log->append("stage", {{"stage", "learning"}});
    stream.log->close();
    EXPECT_EQ(next_events(stream), "id: 3\nevent: stage\ndata: {\"stage\":\"learning\"}\n\n");
    EXPECT_EQ(next_events(stream), std::nullopt);
}

TEST(NextEvents, BeginBehindTheNumberThatIsKnown) {
    EventStream stream{std::make_shared<EventLog>(std::filesystem::path()), 2, nullptr};
    for (int i = 1; i <= 3; ++i) stream.log->append("note", i);
    EXPECT_EQ(next_events(stream), "id: 3\nevent: note\ndata: 3\n\n");
    stream.after = 99;
    EXPECT_EQ(next_events(stream), "");
    stream.log->close();
    EXPECT_EQ(next_events(stream), std::nullopt);
}

TEST(NextEvents, ComeSoManyAtATime) {
    const TemporaryFolder root;
    EventStream stream{std::make_shared<EventLog>(root / "events.jsonl"), 0, nullptr};
    for (int i = 0; i < 300; ++i) stream.log->append("note", i);
    stream.log->close();
    std::size_t calls = 0;
    while (const auto text = next_events(stream)) {
        ASSERT_NE(*text, "");
        ++calls;
    }
    EXPECT_EQ(calls, 2u);
    EXPECT_EQ(stream.after, 300u);
}

// The peer asks again, from where it was.
TEST(NextEvents, EndWhereTheFileIsGone) {
    const TemporaryFolder root;
    EventStream stream{std::make_shared<EventLog>(root / "events.jsonl"), 0, nullptr};
    for (int i = 0; i < 300; ++i) stream.log->append("note", i);
    std::filesystem::remove(root / "events.jsonl");
    EXPECT_EQ(next_events(stream), std::nullopt);
}

// Of one without a file the last are there; the peer does not ask for the first for ever.
TEST(NextEvents, AreTheLastOnesWhereThereIsNoFile) {
    EventStream stream{std::make_shared<EventLog>(std::filesystem::path()), 0, nullptr};
    for (int i = 1; i <= 100; ++i) stream.log->append("note", i);
    const auto text = next_events(stream);
    ASSERT_TRUE(text && !text->empty());
    EXPECT_EQ(stream.after, 100u);
    EXPECT_EQ(next_events(stream), "");
}

}  // namespace
}  // namespace zoodip
