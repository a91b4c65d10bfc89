// What an exception says to a user.
#pragma once

#include <exception>
#include <string>

namespace zoodip {

inline constexpr const char* no_memory =
    "out of memory. A smaller `resolution`, `n` or `threads` needs less";

// Whether it says that there is no memory: the system's, torch's or a library's way.
bool is_want_of_memory(const std::exception& error) noexcept;

// One sentence or two: torch's errors without their addresses, and one sentence for each way in
// which the system or a library says that there is no memory.
std::string plain_message(const std::exception& error);

}  // namespace zoodip
