#include "cli/progress.h"

#include <cmath>
#include <iostream>

#include "core/error.h"

#ifdef _WIN32
#include <io.h>
#define isatty _isatty
#define fileno _fileno
#else
#include <unistd.h>
#endif

namespace zoodip {

ProgressLine::ProgressLine() : terminal_(isatty(fileno(stderr)) != 0) {}

void ProgressLine::show(std::int64_t done, std::int64_t total, const std::string& detail) {
    const auto now = std::chrono::steady_clock::now();
    const auto pause = std::chrono::milliseconds(terminal_ ? 100 : 1000);
    if (done < total && now - last_ < pause) return;
    last_ = now;
    if (!terminal_) {
        std::cerr << done << "/" << total << "  " << detail << '\n';
        return;
    }
    constexpr std::int64_t width = 24;
    const auto filled = static_cast<std::size_t>(total > 0 ? width * done / total : width);
    std::cerr << "\r\033[K[" << std::string(filled, '#') << std::string(width - filled, '.') << "] "
              << done << "/" << total << "  " << detail << std::flush;
    open_ = done < total;
    if (!open_) std::cerr << '\n';
}

void ProgressLine::note(const std::string& text) {
    if (open_) std::cerr << '\n';
    open_ = false;
    std::cerr << text << '\n';
}

}  // namespace zoodip
