#include "core/duration.h"

#include <cmath>
#include <cstdint>
#include <cstdio>

#include "core/error.h"

namespace zoodip {

std::string format_duration(double seconds) {
    const auto total = static_cast<std::int64_t>(std::llround(seconds));
    if (total < 60) return concat(total, " s");
    if (total < 3600) return concat(total / 60, " min ", total % 60, " s");
    if (total < 48 * 3600) return concat(total / 3600, " h ", total % 3600 / 60, " min");
    return concat(total / 86400, " days ", total % 86400 / 3600, " h");
}

std::string format_step_time(double seconds) {
    char text[32];
    std::snprintf(text, sizeof text, "%.2g s", seconds);
    return text;
}

}  // namespace zoodip
