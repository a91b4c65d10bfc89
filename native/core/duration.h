// Lengths of time for people.
#pragma once

#include <string>

namespace zoodip {

// Two units at most: "42 s", "1 min 54 s", "3 h 20 min", "2 days 5 h".
std::string format_duration(double seconds);

// Two digits: "0.063 s", "19 s".
std::string format_step_time(double seconds);

}  // namespace zoodip
