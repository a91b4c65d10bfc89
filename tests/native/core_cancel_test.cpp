#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "core/cancel.h"
#include "core/error.h"
#include "core/log.h"

namespace zoodip {
namespace {

TEST(CancelToken, StopsEveryCopyFromAnyThread) {
    const CancelToken token, copy = token, other;
    EXPECT_NO_THROW(copy.check());
    std::thread([&token] { token.cancel(); }).join();
    EXPECT_TRUE(copy.cancelled());
    EXPECT_THROW(copy.check(), Cancelled);
    EXPECT_FALSE(other.cancelled());
    EXPECT_NO_THROW(other.check());
}

TEST(CancelToken, OfSharedWorkWaitsForAllWhoShareIt) {
    const CancelToken first, second;
    using All = std::vector<CancelToken>;
    const CancelToken both(All{first, second}), none(All{}), itself(All{first});
    first.cancel();
    EXPECT_FALSE(both.cancelled());
    EXPECT_TRUE(itself.cancelled());
    EXPECT_FALSE(second.cancelled());
    second.cancel();
    EXPECT_TRUE(both.cancelled());
    EXPECT_THROW(both.check(), Cancelled);
    EXPECT_FALSE(none.cancelled());
    const CancelToken third, shared(All{third});
    shared.cancel();
    EXPECT_TRUE(shared.cancelled());
    EXPECT_FALSE(third.cancelled());
}

TEST(CancelToken, ACancellationIsNoError) {
    const CancelToken token;
    token.cancel();
    try {
        token.check();
        FAIL();
    } catch (const Error&) {
        FAIL();
    } catch (const Cancelled&) {
    }
}

TEST(Require, ThrowsItsPartsAsOneMessage) {
    EXPECT_NO_THROW(require(true, "not thrown"));
    try {
        require(false, "linear: weight has ", 320, " inputs, activation has ", 768);
        FAIL();
    } catch (const Error& error) {
        EXPECT_STREQ(error.what(), "linear: weight has 320 inputs, activation has 768");
    }
}

TEST(LogSink, GetsMessagesUntilItIsTakenAway) {
    std::vector<std::pair<LogLevel, std::string>> seen;
    log_warning("nobody listens");
    set_log_sink(
        [&seen](LogLevel level, const std::string& text) { seen.emplace_back(level, text); });
    log_warning("tau ", 128, " is large");
    log_info("done");
    set_log_sink({});
    log_warning("nobody listens");
    const std::vector<std::pair<LogLevel, std::string>> expected = {
        {LogLevel::warning, "tau 128 is large"}, {LogLevel::info, "done"}};
    EXPECT_EQ(seen, expected);
}

TEST(LogSink, MayReplaceItself) {
    int first = 0, second = 0;
    set_log_sink([&](LogLevel, const std::string&) {
        ++first;
        set_log_sink([&second](LogLevel, const std::string&) { ++second; });
    });
    log_info("one");
    log_info("two");
    set_log_sink({});
    EXPECT_EQ(first, 1);
    EXPECT_EQ(second, 1);
}

}  // namespace
}  // namespace zoodip
