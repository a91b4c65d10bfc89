// Which heads of requests are taken.
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "server/request_head.h"

namespace zoodip {
namespace {

const ServerLimits limits;

std::string head_with(const std::string& lines, const std::string& request = "GET / HTTP/1.1") {
    return request + "\r\nHost: localhost\r\n" + lines + "\r\n";
}

// The status with which a request that begins so is refused; 0 when it is taken, -1 when more is
// awaited.
int refusal(const std::string& bytes, const ServerLimits& given = limits) {
    try {
        const auto length = head_length(bytes, given);
        if (!length) return -1;
        parse_head(std::string_view(bytes).substr(0, *length), given);
        return 0;
    } catch (const HttpError& error) {
        return error.status();
    }
}

std::string headers(std::size_t count) {
    std::string lines;
    for (std::size_t i = 0; i < count; ++i) lines += concat("X-", i, ": 1\r\n");
    return lines;
}

TEST(RequestHead, IsParsed) {
    const RequestHead head = parse_head(
        head_with("X-Odd:\t a b \r\nEmpty:\r\nContent-Length: 12\r\nExpect: 100-Continue\r\n",
                  "POST /v1/jobs?x=%41 HTTP/1.1"),
        limits);
    EXPECT_EQ(head.method, "POST");
    EXPECT_EQ(head.target, "/v1/jobs?x=%41");
    EXPECT_EQ(head.header("host"), "localhost");
    EXPECT_EQ(head.header("x-odd"), "a b");
    EXPECT_EQ(head.header("empty"), "");
    EXPECT_EQ(head.header("absent"), std::nullopt);
    EXPECT_EQ(head.content_length, 12u);
    EXPECT_TRUE(head.expects_continue);
    EXPECT_TRUE(head.keep_alive);
}

TEST(RequestHead, IsTakenWhereItIsWhole) {
    for (const std::string& whole :
         {head_with(""), head_with("X: \xff\xc3\x28\r\n"), head_with("!#$%&'*+-.^_`|~09aZ: x\r\n"),
          head_with("Accept: a\r\nAccept: b\r\n"), head_with("Content-Length: 0\r\n"),
          head_with("Content-Length: 67108864\r\n"), head_with("Content-Length: 007\r\n"),
          head_with("", "OPTIONS /x HTTP/1.1"), head_with("", "CONNECT / HTTP/1.1"),
          head_with("", "DELETE //../%00?a#b HTTP/1.1"), head_with(headers(63)),
          head_with("X: " + std::string(limits.line - 3, 'x') + "\r\n"),
          head_with("", "GET /" + std::string(limits.line - 14, 'x') + " HTTP/1.1")}) {
        EXPECT_EQ(refusal(whole), 0) << whole;
    }
}

struct Refused {
    int status;
    std::string bytes;
};

TEST(RequestHead, IsRefusedWithItsStatus) {
    const std::vector<Refused> all = {
        {400, "\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n\r\n"},  // no Host
        {400, head_with("Host: localhost\r\n")},
        {400, head_with("hOST: other\r\n")},
        {400, head_with("X : 1\r\n")},
        {400, head_with(": 1\r\n")},
        {400, head_with("X\r\n")},
        {400, head_with(" folded: 1\r\n")},
        {400, head_with("X: a\r\n b\r\n")},
        {400, head_with("X\xc3: 1\r\n")},
        {400, head_with("X(: 1\r\n")},
        {400, head_with("X: a\rb\r\n")},
        {400, head_with("X: a\nb\r\n")},
        {400, head_with("X: a\nContent-Length: 3\r\n")},
        {400, head_with(std::string("X: a\0b\r\n", 8))},
        {400, head_with(std::string("X\0: b\r\n", 7))},
        {400, head_with("X: \x01\r\n")},
        {400, head_with("X: \x7f\r\n")},
        {400, head_with("", "GET / HTTP/1.1\r")},
        {400, head_with("", "GET  / HTTP/1.1")},
        {400, head_with("", "GET / HTTP/1.1 ")},
        {400, head_with("", " GET / HTTP/1.1")},
        {400, head_with("", "GET /")},
        {400, head_with("", "GET")},
        {400, head_with("", "GET / HTTP/1.10")},
        {400, head_with("", "GET / http/1.1")},
        {400, head_with("", "GET x HTTP/1.1")},
        {400, head_with("", "GET http://localhost/ HTTP/1.1")},
        {400, head_with("", "OPTIONS * HTTP/1.1")},
        {400, head_with("", "GET /\xc3\xa9 HTTP/1.1")},
        {400, head_with("", "GET /\t HTTP/1.1")},
        {400, head_with("", "G(T / HTTP/1.1")},
        {505, head_with("", "GET / HTTP/1.0")},
        {505, head_with("", "GET / HTTP/2.0")},
        {400, head_with("Content-Length: 1\r\nContent-Length: 1\r\n")},
        {400, head_with("Content-Length: 1, 1\r\n")},
        {400, head_with("Content-Length:\r\n")},
        {400, head_with("Content-Length: +1\r\n")},
        {400, head_with("Content-Length: -1\r\n")},
        {400, head_with("Content-Length: 0x1\r\n")},
        {400, head_with("Content-Length: 1 1\r\n")},
        {413, head_with("Content-Length: 67108865\r\n")},
        {413, head_with("Content-Length: 18446744073709551616\r\n")},
        {413, head_with("Content-Length: " + std::string(300, '9') + "\r\n")},
        {411, head_with("Transfer-Encoding: chunked\r\n")},
        {411, head_with("transfer-encoding:\r\n")},
        {400, head_with("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n")},
        {400, head_with("Content-Length: 1\r\nTransfer-Encoding: identity\r\n")},
        {415, head_with("Content-Encoding: gzip\r\n")},
        {417, head_with("Expect: 200-ok\r\n")},
        {400, head_with("Authorization: a\r\nAuthorization: b\r\n")},
        {400, head_with("Content-Type: a\r\nContent-Type: b\r\n")},
        {400, head_with("Origin: a\r\nOrigin: b\r\n")},
        {400, head_with("Last-Event-ID: 1\r\nlast-event-id: 2\r\n")},
        {400, head_with("Sec-Fetch-Site: none\r\nSec-Fetch-Site: none\r\n")},
        {431, head_with(headers(64))},
        {431, head_with("X: " + std::string(limits.line - 2, 'x') + "\r\n")},
        {431, head_with("A: " + std::string(8000, 'x') + "\r\nB: " + std::string(8000, 'x') +
                        "\r\nC: " + std::string(500, 'x') + "\r\n")},
        {414, head_with("", "GET /" + std::string(limits.line - 13, 'x') + " HTTP/1.1")}};
    for (const Refused& refused : all) {
        EXPECT_EQ(refusal(refused.bytes), refused.status) << refused.bytes;
    }
}

TEST(RequestHead, KeepsTheConnectionUnlessItIsToClose) {
    for (const char* line :
         {"Connection: close\r\n", "Connection: Keep-Alive, CLOSE\r\n", "Upgrade: websocket\r\n"}) {
        EXPECT_FALSE(parse_head(head_with(line), limits).keep_alive) << line;
    }
    for (const char* line : {"", "Connection: keep-alive\r\n"}) {
        EXPECT_TRUE(parse_head(head_with(line), limits).keep_alive) << line;
    }
    EXPECT_FALSE(parse_head(head_with("Expect: 100-continue\r\n"), limits).expects_continue);
}

TEST(RequestHead, TakesAnyTokenForAMethod) {
    EXPECT_EQ(parse_head(head_with("", "BREW / HTTP/1.1"), limits).method, "BREW");
}

TEST(HeadLength, RefusesALineFeedAloneAtOnce) {
    for (const char* bytes :
         {"\n", "GET / HTTP/1.1\n", "GET / HTTP/1.1\r\nHost: a\n\r\n", "a\n\r"}) {
        EXPECT_THROW(head_length(bytes, limits), HttpError) << bytes;
    }
    EXPECT_EQ(head_length("GET / HTTP/1.1\r\n", limits), std::nullopt);
}

TEST(HeadLength, IsThatWithTheBlankLine) {
    const std::string head = head_with("X: 1\r\n");
    EXPECT_EQ(head_length(head, limits), head.size());
    EXPECT_EQ(head_length(head + "the body\r\n\r\n", limits), head.size());
    EXPECT_EQ(head_length("", limits), std::nullopt);
}

// However the bytes arrive, the same heads are taken: those at the limits too.
TEST(HeadLength, AwaitsTheRestOfWhateverIsTaken) {
    const std::string at_line = "X: " + std::string(limits.line - 3, 'x') + "\r\n";
    std::string at_head = head_with("Y: 1\r\n" + at_line);
    at_head =
        head_with("Y: 1" + std::string(limits.head + 4 - at_head.size(), 'y') + "\r\n" + at_line);
    EXPECT_EQ(at_head.size(), limits.head + 4);
    for (const std::string& head :
         {head_with(""), head_with(headers(63)), head_with(at_line), at_head,
          head_with("", "GET /" + std::string(limits.line - 14, 'x') + " HTTP/1.1")}) {
        ASSERT_EQ(refusal(head), 0);
        for (std::size_t size = 0; size < head.size(); ++size) {
            ASSERT_EQ(refusal(head.substr(0, size)), -1) << size << " of " << head.size();
        }
    }
}

// A peer that sends no end is refused once it has sent too much, whatever it sends.
TEST(HeadLength, IsBounded) {
    for (const char* endless : {"x", "x: y\r\n", "\r\n", "\n", "\r", "\r\n\r"}) {
        std::string bytes = "GET";
        int status = -1;
        while (status == -1 && bytes.size() < 100'000) {
            bytes += endless;
            status = refusal(bytes);
        }
        EXPECT_TRUE(status == 400 || status == 414 || status == 431) << endless << status;
        EXPECT_LE(bytes.size(), limits.head + 16) << endless;
    }
}

}  // namespace
}  // namespace zoodip
