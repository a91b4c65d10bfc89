#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "core/cancel.h"
#include "core/error.h"
#include "core/log.h"

namespace zoodip {
namespace {

TEST(CancelToken, CopiesShareOneFlag) {
    const CancelToken token;
    const CancelToken copy = token;  // NOLINT: the copy is what is tested
    EXPECT_FALSE(token.cancelled());
    EXPECT_NO_THROW(token.check());
    copy.cancel();
    EXPECT_TRUE(token.cancelled());
    EXPECT_THROW(token.check(), Cancelled);
    EXPECT_FALSE(CancelToken().cancelled());
}

TEST(CancelToken, StopsAnotherThread) {
    const CancelToken token;
    bool stopped = false;
    std::thread worker([&stopped, token] {
        try {
            while (true) token.check();
        } catch (const Cancelled&) {
            stopped = true;
        }
    });
    token.cancel();
    worker.join();
    EXPECT_TRUE(stopped);
}

TEST(Cancelled, IsNotAFailure) {
    EXPECT_THROW(
        try { throw Cancelled(); } catch (const Error&) { FAIL() << "caught as a failure"; },
        Cancelled);
}

TEST(Error, RequireJoinsItsPartsOnlyOnFailure) {
    EXPECT_NO_THROW(require(true, "not thrown"));
    try {
        require(false, "linear: weight has ", 320, " inputs, activation has ", 768);
        FAIL() << "did not throw";
    } catch (const Error& error) {
        EXPECT_STREQ(error.what(), "linear: weight has 320 inputs, activation has 768");
    }
}

class Log : public testing::Test {
  protected:
    void TearDown() override { set_log_sink({}); }
};

TEST_F(Log, GoesToTheSinkOrNowhere) {
    log_warning("nobody listens");
    std::vector<std::string> seen;
    set_log_sink([&](LogLevel level, const std::string& message) {
        seen.push_back((level == LogLevel::warning ? "warning: " : "info: ") + message);
    });
    log_info("step ", 3);
    log_warning("loss is ", 0.5);
    set_log_sink({});
    log_warning("nobody listens");
    EXPECT_EQ(seen, (std::vector<std::string>{"info: step 3", "warning: loss is 0.5"}));
}

TEST_F(Log, ASinkMayReplaceItself) {
    int first = 0, second = 0;
    set_log_sink([&](LogLevel, const std::string&) {
        ++first;
        set_log_sink([&](LogLevel, const std::string&) { ++second; });
    });
    log_info("a");
    log_info("b");
    EXPECT_EQ(first, 1);
    EXPECT_EQ(second, 1);
}

}  // namespace
}  // namespace zoodip
