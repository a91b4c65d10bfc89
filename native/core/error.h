// Errors. Everything below the edges throws; nothing aborts and nothing prints.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace zoodip {

// A failure that a user can act on. The message is one sentence or two: the thing, what was
// expected, what was found, and what to do.
class Error : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

// The work was stopped on request; not a failure.
class Cancelled : public std::runtime_error {
  public:
    Cancelled() : std::runtime_error("cancelled") {}
};

template <class... Parts>
std::string concat(const Parts&... parts) {
    std::ostringstream out;
    (out << ... << parts);
    return out.str();
}

template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
    throw Error(concat(parts...));
}

template <class... Parts>
void require(bool condition, const Parts&... parts) {
    if (!condition) fail(parts...);
}

}  // namespace zoodip
