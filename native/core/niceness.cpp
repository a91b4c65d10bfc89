#include "core/niceness.h"

#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

#ifdef _WIN32
#include <windows.h>
#else
#include <sys/resource.h>
#endif

namespace zoodip {
namespace {

#ifdef __linux__
constexpr int lower = 10;  // of 0 to 19; a tenth of a normal program's share beside one

// Linux gives every thread a priority of its own.
bool lower_all_threads() {
    std::error_code error;
    bool all = true;
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task", error)) {
        const auto id = static_cast<id_t>(std::stoul(task.path().filename().string()));
        if (getpriority(PRIO_PROCESS, id) >= lower) continue;  // it was started so
        all = setpriority(PRIO_PROCESS, id, lower) == 0 && all;
    }
    return all && !error;
}
#endif

[[maybe_unused]] bool has_entries(const char* folder) {
    std::error_code error;
    const std::filesystem::directory_iterator entry(folder, error);
    return !error && entry != std::filesystem::directory_iterator();
}

}  // namespace

bool give_way() noexcept {
    try {
#ifdef _WIN32
        return SetPriorityClass(GetCurrentProcess(), BELOW_NORMAL_PRIORITY_CLASS) != 0;
#elif defined(__linux__)
        return lower_all_threads();
#else
        return setpriority(PRIO_PROCESS, 0, 10) == 0;
#endif
    } catch (const std::exception&) {
        return false;
    }
}

bool serves_a_desktop() noexcept {
#if defined(_WIN32) || defined(__APPLE__)
    return true;
#else
    const auto set = [](const char* name) {
        const char* value = std::getenv(name);
        return value != nullptr && *value != '\0';
    };
    return set("DISPLAY") || set("WAYLAND_DISPLAY") || has_entries("/tmp/.X11-unix");
#endif
}

}  // namespace zoodip
