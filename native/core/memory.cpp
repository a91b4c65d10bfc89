#include "core/memory.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>  // defines __GLIBC__ where it is so
#include <cstring>
#include <fstream>
#include <limits>
#include <optional>
#include <string>

#include "core/error.h"
#ifdef __GLIBC__
#include <malloc.h>
#endif
#ifdef __linux__
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#endif

namespace zoodip {
namespace {

// The number behind a word of a file such as /proc/meminfo or memory.stat.
std::optional<std::int64_t> number_after(const char* file, const std::string& word) {
    std::ifstream in(file);
    for (std::string name; in >> name;) {
        std::int64_t value = 0;
        if (name == word && in >> value) return value;
    }
    return std::nullopt;
}

// A file that holds one number; "max" stands for no limit.
std::optional<std::int64_t> number_in(const char* file) {
    std::ifstream in(file);
    std::int64_t value = 0;
    if (in >> value) return value;
    return std::nullopt;
}

// What is left within the control group: its cache of files is given up when it is needed.
std::int64_t left_in_group() {
    const auto limit = number_in("/sys/fs/cgroup/memory.max");
    const auto used = number_in("/sys/fs/cgroup/memory.current");
    if (!limit || !used) return std::numeric_limits<std::int64_t>::max();
    const auto cache = number_after("/sys/fs/cgroup/memory.stat", "inactive_file");
    return std::max<std::int64_t>(0, *limit - *used + cache.value_or(0));
}

// What is left of the addresses that the process may have (ulimit -v).
std::int64_t left_of_addresses() {
#ifdef __linux__
    rlimit limit{};
    const auto pages = number_in("/proc/self/statm");
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && pages) {
        const auto used = *pages * sysconf(_SC_PAGESIZE);
        return std::max<std::int64_t>(1, static_cast<std::int64_t>(limit.rlim_cur) - used);
    }
#endif
    return std::numeric_limits<std::int64_t>::max();
}

}  // namespace

void give_back_memory() noexcept {
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

std::shared_ptr<void> allocate_pages(std::size_t size) {
    size = std::max<std::size_t>(size, 1);
#ifdef __linux__
    void* pages = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    require(pages != MAP_FAILED, "memory: the system has no ", size,
            " bytes more: ", std::strerror(errno));
    madvise(pages, size, MADV_HUGEPAGE);  // advice: whether it is taken does not matter
    return {pages, [size](void* begin) { munmap(begin, size); }};
#else
    void* pages = std::calloc(size, 1);
    require(pages != nullptr, "memory: the system has no ", size, " bytes more");
    return {pages, std::free};
#endif
}

std::int64_t available_memory() {
    const auto kilobytes = number_after("/proc/meminfo", "MemAvailable:");
    if (!kilobytes) return 0;
    return std::min({*kilobytes * 1024, left_in_group(), left_of_addresses()});
}

}  // namespace zoodip
