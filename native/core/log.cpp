#include "core/log.h"

#include <mutex>
#include <utility>

namespace zoodip {
namespace {

struct Sink {
    std::mutex mutex;
    LogSink sink;
};

Sink& instance() {
    static Sink sink;
    return sink;
}

}  // namespace

void set_log_sink(LogSink sink) {
    const std::lock_guard lock(instance().mutex);
    instance().sink = std::move(sink);
}

void log(LogLevel level, const std::string& message) {
    LogSink sink;
    {
        const std::lock_guard lock(instance().mutex);
        sink = instance().sink;
    }
    if (sink) sink(level, message);
}

}  // namespace zoodip
