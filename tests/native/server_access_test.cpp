// Who may ask.
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "server/access.h"

namespace zoodip {
namespace {

int refusal(const HttpHeaders& headers, const Access& access) {
    RequestHead head;
    head.headers = headers;
    try {
        check_access(head, access);
        return 0;
    } catch (const HttpError& error) {
        return error.status();
    }
}

const Access loopback{"127.0.0.1", 8642, ""};
const Access guarded{"127.0.0.1", 8642, "secret"};
const Access beyond{"192.0.2.7", 8642, "secret"};

TEST(Access, IsLookedAtByWhoItIsMountedOn) {
    const Access open{"127.0.0.1", 8642, "secret", true};
    EXPECT_EQ(refusal({{"host", "evil.example"}, {"origin", "http://evil.example"}}, open), 0);
    EXPECT_EQ(refusal({}, open), 0);
}

TEST(Access, IsByTheServersOwnNames) {
    for (const char* host : {"127.0.0.1:8642", "localhost:8642", "LocalHost:8642", "[::1]:8642"}) {
        EXPECT_EQ(refusal({{"host", host}}, loopback), 0) << host;
    }
    for (const char* host :
         {"", "127.0.0.1", "localhost", "localhost:80", "localhost:86420", "evil.example:8642",
          "localhost.evil.example:8642", "evil.localhost:8642", "127.0.0.2:8642", "::1:8642",
          "localhost:8642:8642", "user@localhost:8642", " localhost:8642", "0.0.0.0:8642"}) {
        EXPECT_EQ(refusal({{"host", host}}, loopback), 403) << host;
    }
    EXPECT_EQ(refusal({{"host", "localhost"}}, {"localhost", 80, ""}), 0);
    EXPECT_EQ(refusal({{"host", "127.0.0.9:1"}}, {"127.0.0.9", 1, ""}), 0);
    EXPECT_EQ(refusal({{"host", "[::1]:1"}}, {"::1", 1, ""}), 0);
}

TEST(Access, IsNotForThePagesOfOtherSites) {
    const auto with = [](const char* name, const char* value) {
        return refusal({{"host", "localhost:8642"}, {name, value}}, loopback);
    };
    for (const char* origin :
         {"http://localhost:8642", "http://127.0.0.1:8642", "http://[::1]:8642"}) {
        EXPECT_EQ(with("origin", origin), 0) << origin;
    }
    for (const char* origin :
         {"null", "", "http://evil.example", "https://localhost:8642", "http://localhost",
          "http://localhost:8643", "http://localhost:8642.evil.example", "localhost:8642",
          "http://localhost:8642/", "http://evil.example:8642"}) {
        EXPECT_EQ(with("origin", origin), 403) << origin;
    }
    for (const char* site : {"same-origin", "none"}) EXPECT_EQ(with("sec-fetch-site", site), 0);
    for (const char* site : {"cross-site", "same-site", "", "other"}) {
        EXPECT_EQ(with("sec-fetch-site", site), 403) << site;
    }
}

TEST(Access, NeedsTheTokenWhereThereIsOne) {
    const auto with = [](const std::string& value) {
        return refusal({{"host", "localhost:8642"}, {"authorization", value}}, guarded);
    };
    EXPECT_EQ(with("Bearer secret"), 0);
    EXPECT_EQ(with("bearer secret"), 0);
    for (const char* value : {"", "Bearer", "Bearer ", "secret", "Basic secret", "Bearer secre",
                              "Bearer secretsecret", "Bearer  secret", "Bearer Secret",
                              "Bearer secreT", "Bearer xecret", "Bearersecret", "Bearer secret "}) {
        EXPECT_EQ(with(value), 401) << value;
    }
    EXPECT_EQ(refusal({{"host", "localhost:8642"}}, guarded), 401);
    EXPECT_EQ(refusal({{"host", "localhost:8642"}, {"authorization", "x"}}, loopback), 0);
}

TEST(Access, AsksForTheToken) {
    try {
        check_access({.headers = {{"host", "localhost:8642"}}}, guarded);
        ADD_FAILURE() << "not refused";
    } catch (const HttpError& error) {
        ASSERT_EQ(error.headers().size(), 1u);
        EXPECT_EQ(error.headers()[0].first, "WWW-Authenticate");
        EXPECT_TRUE(error.headers()[0].second.starts_with("Bearer"));
        EXPECT_EQ(std::string(error.what()).find("secret"), std::string::npos);
    }
}

// There a server has names that it cannot know; the token stands in for them.
TEST(Access, IsByAnyNameBeyondTheLoopback) {
    const std::pair<std::string, std::string> token = {"authorization", "Bearer secret"};
    EXPECT_EQ(refusal({{"host", "my-machine.example:8642"}, token}, beyond), 0);
    EXPECT_EQ(refusal({{"host", "192.0.2.7:8642"}}, beyond), 401);
    EXPECT_EQ(refusal({{"host", "x"}, token, {"origin", "http://evil.example"}}, beyond), 403);
    EXPECT_EQ(refusal({{"host", "x"}, token, {"origin", "http://192.0.2.7:8642"}}, beyond), 0);
}

TEST(Access, KnowsTheLoopback) {
    for (const char* host : {"127.0.0.1", "127.1.2.3", "localhost", "::1"}) {
        EXPECT_TRUE(is_loopback(host)) << host;
    }
    for (const char* host : {"", "0.0.0.0", "::", "192.0.2.7", "128.0.0.1", "example.org"}) {
        EXPECT_FALSE(is_loopback(host)) << host;
    }
}

}  // namespace
}  // namespace zoodip
