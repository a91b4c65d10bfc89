// What may be called from any thread, called from several at once. What each test asserts holds on
// any schedule; a data race is for ThreadSanitizer to see (tests/sanitize.py thread).
#include <atomic>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include <gtest/gtest.h>

#include "in_threads.h"

#include "core/cancel.h"
#include "core/error.h"
#include "core/log.h"

namespace zoodip {
namespace {

TEST(LogSink, TakesMessagesOfSeveralThreadsEachOnce) {
    constexpr int writers = 4, messages = 200;
    std::mutex mutex;
    std::multiset<std::string> seen;
    set_log_sink([&](LogLevel, const std::string& text) {
        const std::lock_guard lock(mutex);
        seen.insert(text);
    });
    in_threads(writers, [](int writer) {
        for (int i = 0; i < messages; ++i) log_info(writer, " ", i);
    });
    set_log_sink({});
    ASSERT_EQ(seen.size(), std::size_t{writers * messages});
    for (int writer = 0; writer < writers; ++writer) {
        for (int i = 0; i < messages; ++i) EXPECT_EQ(seen.count(concat(writer, " ", i)), 1u);
    }
}

// A message goes to the sink that is there when it is written, or to none; never to half of one.
TEST(LogSink, MayBeReplacedWhileOthersWrite) {
    struct Counter {
        std::atomic<int> count{0};
        std::string word = "long enough not to lie within the string object itself";
    };
    std::atomic<int> heard{0}, whole{0};
    in_threads(4, [&](int thread) {
        for (int i = 0; i < 200; ++i) {
            if (thread > 0) {
                log_warning("message");
                continue;
            }
            auto state = std::make_shared<Counter>();
            set_log_sink([&, state](LogLevel level, const std::string& text) {
                ++heard;
                state->count++;
                if (level == LogLevel::warning && text == "message" && state->word[0] == 'l') {
                    ++whole;
                }
            });
        }
    });
    set_log_sink({});
    EXPECT_EQ(heard, whole);
}

TEST(CancelToken, StopsAllWhoLookAtIt) {
    const CancelToken token;
    std::atomic<int> stopped{0};
    in_threads(4, [&](int thread) {
        if (thread == 0) return token.cancel();
        const CancelToken mine = token;
        try {
            while (true) mine.check();
        } catch (const Cancelled&) {
            ++stopped;
        }
    });
    EXPECT_EQ(stopped, 3);
}

}  // namespace
}  // namespace zoodip
