#include "io/cache_folder.h"

#include <cstdlib>

namespace zoodip {
namespace {

std::filesystem::path variable(const char* name) {
    const char* value = std::getenv(name);
    return value == nullptr ? std::filesystem::path() : std::filesystem::path(value);
}

}  // namespace

std::filesystem::path cache_folder() {
    if (const auto own = variable("ZOODIP_CACHE"); !own.empty()) return own;
    for (const char* name : {"XDG_CACHE_HOME", "LOCALAPPDATA"}) {
        if (const auto base = variable(name); !base.empty()) return base / "zoodip";
    }
    const auto home = variable("HOME");
    return home.empty() ? home : home / ".cache" / "zoodip";
}

}  // namespace zoodip
