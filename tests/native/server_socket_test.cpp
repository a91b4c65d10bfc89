// The server at its sockets: requests as they come, and what is no request.
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "in_threads.h"
#include "server_fixture.h"

namespace zoodip {
namespace {

using nlohmann::json;
using ServerTest = ServerFixture;

constexpr std::chrono::milliseconds short_time{50};

// Expects a problem, after which the connection closes.
void expect_refused(RawClient& client, int status) {
    const RawResponse response = client.response();
    EXPECT_EQ(response.status, status) << response.body;
    EXPECT_EQ(response.headers.at("content-type"), "application/problem+json");
    EXPECT_EQ(response.headers.at("connection"), "close");
    EXPECT_EQ(parse_json(response.body)["status"], status);
    EXPECT_TRUE(client.ends());
}

TEST_F(ServerTest, AnswersOneRequestAfterAnother) {
    RawClient client = connect();
    for (int i = 0; i < 3; ++i) {
        client.get("/v1/health");
        const RawResponse response = client.response();
        EXPECT_EQ(response.status, 200);
        EXPECT_EQ(parse_json(response.body)["status"], "ok");
        EXPECT_EQ(response.headers.at("content-type"), "application/json");
        EXPECT_EQ(response.headers.at("cache-control"), "no-store");
        EXPECT_EQ(response.headers.at("x-content-type-options"), "nosniff");
        EXPECT_EQ(response.headers.count("access-control-allow-origin"), 0u);
    }
    client.get("/v1/nothing");
    EXPECT_EQ(client.response().status, 404);
    client.send(client.request("OPTIONS", "/v1/jobs"));
    const RawResponse refused = client.response();
    EXPECT_EQ(refused.status, 405);
    EXPECT_EQ(refused.headers.at("allow"), "GET, POST, HEAD");
    client.get("/v1/health", "Connection: close\r\n");
    EXPECT_EQ(client.response().status, 200);
    EXPECT_TRUE(client.ends());
}

TEST_F(ServerTest, AnswersRequestsThatCameTogetherInTheirOrder) {
    RawClient client = connect();
    const std::string bodied = client.post("/v1/jobs/x/stop", "{}");
    client.send(client.request("GET", "/v1/models") + client.request("GET", "/nothing") + bodied +
                client.request("GET", "/v1/health") + client.request("PUT", "/v1/health") +
                client.request("GET", "/v1/jobs"));
    EXPECT_TRUE(parse_json(client.response().body).contains("models"));
    EXPECT_EQ(client.response().status, 404);
    EXPECT_EQ(client.response().status, 404);
    EXPECT_TRUE(parse_json(client.response().body).contains("version"));
    EXPECT_EQ(client.response().status, 405);
    EXPECT_TRUE(parse_json(client.response().body).contains("jobs"));
}

TEST_F(ServerTest, TakesARequestByteByByte) {
    RawClient client = connect();
    const std::string request = client.post("/v1/jobs", submission("a"));
    for (const char c : request) client.send({&c, 1});
    const RawResponse response = client.response();
    EXPECT_EQ(response.status, 202);
    EXPECT_EQ(response.headers.at("location"),
              "/v1/jobs/" + parse_json(response.body)["id"].get<std::string>());
}

TEST_F(ServerTest, TakesALargeForm) {
    RawClient client = connect();
    const std::string picture = sent_picture(1'000'000);
    std::string body;
    for (const auto& [name, value] : std::vector<std::pair<std::string, std::string>>{
             {"model", "m.safetensors"}, {"word", "a"}, {"init", "dog"}, {"pictures", picture}}) {
        body +=
            "--b\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value + "\r\n";
    }
    body += "--b--";
    client.send(client.request(
        "POST", "/v1/jobs",
        concat("Content-Type: multipart/form-data; boundary=b\r\nContent-Length: ", body.size(),
               "\r\n"),
        body));
    const RawResponse response = client.response();
    EXPECT_EQ(response.status, 202) << response.body;
    ASSERT_TRUE(runner->waits("a"));
    EXPECT_EQ(read_text(runner->begun().at(0).training.images / "001.png"), picture);
}

TEST_F(ServerTest, HeadHasNoBody) {
    RawClient client = connect();
    client.send(client.request("HEAD", "/v1/health") + client.request("GET", "/v1/health"));
    const RawResponse head = client.response(/*head_only=*/true);
    const RawResponse whole = client.response();
    EXPECT_EQ(head.status, 200);
    EXPECT_EQ(head.headers.at("content-length"), std::to_string(whole.body.size()));
    EXPECT_EQ(head.headers.at("content-type"), "application/json");
}

TEST_F(ServerTest, DeleteHasNoBody) {
    RawClient client = connect();
    const std::string id = submit(jobs, "a").id;
    finish(id);
    client.send(client.request("DELETE", "/v1/jobs/" + id) + client.request("GET", "/v1/health"));
    EXPECT_EQ(client.response().status, 204);
    EXPECT_EQ(client.response().status, 200);
}

TEST_F(ServerTest, RefusesAMalformedHeadAndCloses) {
    const std::vector<std::pair<int, std::string>> all = {
        {400, "GET / HTTP/1.1\r\nHost: localhost\r\nX : 1\r\n\r\n"},
        {400, "nonsense\r\n\r\n"},
        {400, std::string("\0\0\0\r\n\r\n", 7)},
        {411, "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
        {415, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: gzip\r\n\r\n"},
        {414, "GET /" + std::string(9000, 'x')},
        {431, "GET / HTTP/1.1\r\nX: " + std::string(9000, 'x')},
        {505, "GET / HTTP/1.0\r\nHost: localhost\r\n\r\n"}};
    for (const auto& [status, bytes] : all) {
        RawClient client = connect();
        client.send(bytes);
        expect_refused(client, status);
    }
}

TEST_F(ServerTest, RefusesAHugeBodyUnread) {
    RawClient client = connect();
    client.send(client.request(
        "POST", "/v1/jobs", "Content-Type: application/json\r\nContent-Length: 99999999999\r\n"));
    expect_refused(client, 413);
}

// What stands in a body is no request, and what follows an ambiguous head is none either.
TEST_F(ServerTest, IsSmuggledNothing) {
    RawClient client = connect();
    const std::string hidden = client.request("GET", "/v1/models");
    client.send(client.post("/v1/jobs/x/stop", hidden) + client.request("GET", "/v1/health"));
    EXPECT_EQ(client.response().status, 404);
    EXPECT_TRUE(parse_json(client.response().body).contains("version"));
    client.get("/v1/health", "Connection: close\r\n");
    EXPECT_EQ(client.response().status, 200);
    EXPECT_TRUE(client.ends());
    for (const char* framing :
         {"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
          "Content-Length: 0\r\nContent-Length: 5\r\n", "Content-Length: 0, 5\r\n"}) {
        RawClient other = connect();
        other.send(other.request("POST", "/v1/jobs", framing) + "0\r\n\r\n" + hidden);
        expect_refused(other, 400);
    }
}

TEST_F(ServerTest, DropsABodyThatNobodyReads) {
    RawClient client = connect();
    client.send(client.post("/v1/health", std::string(60'000, 'x')) +
                client.request("GET", "/v1/health"));
    EXPECT_EQ(client.response().status, 405);
    EXPECT_EQ(client.response().status, 200);
    RawClient large = connect();
    large.send(large.post("/v1/health", std::string(1'000'000, 'x')));
    const RawResponse refused = large.response();
    EXPECT_EQ(refused.status, 405);
    EXPECT_EQ(refused.headers.at("connection"), "close");
    EXPECT_TRUE(large.ends());
}

TEST_F(ServerTest, AsksForABodyThatIsHeldBack) {
    RawClient client = connect();
    const std::string body = submission("a");
    const std::string expecting = client.post("/v1/jobs", body, "Expect: 100-continue\r\n");
    client.send(expecting.substr(0, expecting.size() - body.size()));
    EXPECT_EQ(client.response().status, 100);
    client.send(body);
    EXPECT_EQ(client.response().status, 202);
    client.get("/v1/health");
    EXPECT_EQ(client.response().status, 200);
    // Not for one that it does not want.
    RawClient other = connect();
    other.send(other.request("POST", "/v1/jobs",
                             "Content-Type: text/plain\r\nContent-Length: 5\r\n"
                             "Expect: 100-continue\r\n"));
    EXPECT_EQ(other.response().status, 415);
    EXPECT_TRUE(other.ends());
}

TEST_F(ServerTest, GivesUpAHeadThatDoesNotCome) {
    limits.head_time = short_time;
    RawClient client = connect();
    client.send("GET / HTTP/1.1\r\nHost:");
    expect_refused(client, 408);
}

TEST_F(ServerTest, GivesUpABodyThatDoesNotCome) {
    limits.body_time = short_time;
    RawClient client = connect();
    const std::string request = client.post("/v1/jobs", submission("a"));
    client.send(request.substr(0, request.size() - 1));
    expect_refused(client, 408);
    RawClient unread = connect();  // one that nobody wanted
    const std::string unwanted = unread.post("/v1/health", "12345");
    unread.send(unwanted.substr(0, unwanted.size() - 1));
    EXPECT_EQ(unread.response().status, 405);
    EXPECT_TRUE(unread.ends());
}

TEST_F(ServerTest, RefusesABodyThatEndsTooSoon) {
    RawClient client = connect();
    const std::string request = client.post("/v1/jobs", submission("a"));
    client.send(request.substr(0, request.size() - 1));
    client.stop_sending();
    expect_refused(client, 400);
    EXPECT_TRUE(jobs.list().empty());
}

TEST_F(ServerTest, ClosesAnIdleConnection) {
    limits.idle_time = short_time;
    RawClient client = connect();
    EXPECT_TRUE(client.ends());
}

TEST_F(ServerTest, AnswersSoManyRequestsAConnection) {
    limits.requests = 2;
    RawClient client = connect();
    for (int i = 0; i < 3; ++i) client.get("/v1/health");
    EXPECT_EQ(client.response().status, 200);
    const RawResponse last = client.response();
    EXPECT_EQ(last.status, 200);
    EXPECT_EQ(last.headers.at("connection"), "close");
    EXPECT_TRUE(client.ends());
}

TEST_F(ServerTest, TurnsAwayMoreConnectionsThanItMay) {
    limits.connections = 2;
    RawClient first = connect();
    first.get("/v1/health");
    EXPECT_EQ(first.response().status, 200);
    {
        RawClient second = connect();
        second.get("/v1/health");
        EXPECT_EQ(second.response().status, 200);
        RawClient third = connect();
        const RawResponse refused = third.response();
        EXPECT_EQ(refused.status, 503);
        EXPECT_NE(refused.headers.at("retry-after"), "");
        EXPECT_TRUE(third.ends());
    }
    EXPECT_TRUE(eventually([&] {  // its place is free
        RawClient next = connect();
        next.get("/v1/health");
        return next.response().status == 200;
    }));
    first.get("/v1/health");
    EXPECT_EQ(first.response().status, 200);
}

TEST_F(ServerTest, AnswersManyAtOnce) {
    start();
    std::atomic<int> answered{0};
    in_threads(6, [&](int) {
        for (int i = 0; i < 10; ++i) {
            RawClient client(server->port());
            client.get("/v1/health");
            client.get("/v1/jobs");
            answered += client.response().status == 200;
            answered += client.response().status == 200;
        }
    });
    EXPECT_EQ(answered, 120);
}

TEST_F(ServerTest, HasItsPortAlone) {
    start();
    const int port = server->port();
    EXPECT_EQ(server->url(), concat("http://127.0.0.1:", port));
    EXPECT_THROW(Server(jobs, roots, {.port = port}), Error);
    connect().get("/v1/health");
    server.reset();
    EXPECT_NO_THROW(Server(jobs, roots, {.port = port}));
}

TEST_F(ServerTest, NeedsATokenBeyondTheLoopback) {
    EXPECT_THROW(Server(jobs, roots, {.host = "0.0.0.0", .port = 0}), Error);
    EXPECT_THROW(Server(jobs, roots, {.host = "192.0.2.1", .port = 0, .token = "x"}), Error);
    const Server open(jobs, roots, {.host = "0.0.0.0", .port = 0, .token = "secret"});
    RawClient client(open.port());
    client.get("/v1/health");
    EXPECT_EQ(client.response().status, 401);
    client.get("/v1/health", "Authorization: Bearer secret\r\n");
    EXPECT_EQ(client.response().status, 200);
}

TEST_F(ServerTest, EndsWhateverItsConnectionsDo) {
    std::vector<RawClient> clients;
    for (int i = 0; i < 5; ++i) clients.push_back(connect());
    const std::string id = submit(jobs, "a").id;
    clients[1].get("/v1/health");
    EXPECT_EQ(clients[1].response().status, 200);
    clients[2].send("GET / HT");
    clients[3].send(clients[3].post("/v1/jobs", submission("b")).substr(0, 200));
    clients[4].get("/v1/jobs/" + id + "/events");
    EXPECT_EQ(clients[4].response_head().status, 200);
    EXPECT_TRUE(clients[4].chunk().has_value());
    const int port = server->port();
    server.reset();
    EXPECT_TRUE(clients[0].ends());
    EXPECT_TRUE(clients[1].ends());
    EXPECT_TRUE(clients[2].ends());
    EXPECT_THROW(RawClient{port}, Error);
}

}  // namespace
}  // namespace zoodip
