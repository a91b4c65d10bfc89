// A progress line on standard error.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace zoodip {

// On a terminal one line that rewrites itself; elsewhere a line now and then, at most one a second
// and at least the last.
class ProgressLine {
  public:
    ProgressLine();

    // `detail` is shown behind the bar.
    void show(std::int64_t done, std::int64_t total, const std::string& detail);
    // A line of its own.
    void note(const std::string& text);

  private:
    bool terminal_;
    bool open_ = false;  // a line is waiting to be rewritten
    std::chrono::steady_clock::time_point last_{};
};

}  // namespace zoodip
