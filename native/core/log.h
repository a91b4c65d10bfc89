// Where warnings go. The library has no output of its own: an edge installs a sink.
#pragma once

#include <functional>
#include <string>

#include "core/error.h"

namespace zoodip {

enum class LogLevel { info, warning };
using LogSink = std::function<void(LogLevel, const std::string&)>;

// Replaces the sink; an empty one drops messages. May be called from any thread.
void set_log_sink(LogSink sink);
void log(LogLevel level, const std::string& message);

template <class... Parts>
void log_warning(const Parts&... parts) {
    log(LogLevel::warning, concat(parts...));
}

template <class... Parts>
void log_info(const Parts&... parts) {
    log(LogLevel::info, concat(parts...));
}

}  // namespace zoodip
