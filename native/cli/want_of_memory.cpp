#include "cli/want_of_memory.h"

#include <cstdlib>
#include <exception>
#include <new>
#include <string>

#include "cli/option_names.h"

#include "core/error.h"
#include "ops/plain_message.h"

#ifdef __linux__
#include <csignal>
#include <sys/mman.h>
#include <sys/resource.h>
#endif
#ifdef _WIN32
#include <io.h>
#else
#include <unistd.h>
#endif

namespace zoodip {
namespace {

// Made while there is memory.
const std::string& last_words() {
    static const std::string words = concat("\rzoodip: error: ", with_options(no_memory), "\n");
    return words;
}

// Without the heap, which may be what is broken.
[[noreturn]] void end_without_memory() {
    const std::string& words = last_words();
    [[maybe_unused]] const auto written =
        write(2, words.data(), static_cast<unsigned>(words.size()));
    std::_Exit(1);
}

[[noreturn]] void on_terminate() {
    try {
        if (const auto exception = std::current_exception()) std::rethrow_exception(exception);
    } catch (const std::exception& error) {
        if (is_want_of_memory(error)) end_without_memory();
    } catch (...) {
        // Nothing that is known here.
    }
    std::abort();
}

#ifdef __linux__

// Whether the system refuses addresses: the crash of anything else stays one.
bool no_addresses() {
    constexpr std::size_t some = 32 << 20;
    void* pages = mmap(nullptr, some, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) return true;
    munmap(pages, some);
    return false;
}

extern "C" void on_crash(int number) {
    if (no_addresses()) end_without_memory();
    std::signal(number, SIG_DFL);  // and the instruction is tried again
}

bool addresses_are_limited() {
    rlimit limit{};
    return getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
}

#endif

}  // namespace

void watch_for_want_of_memory() {
    last_words();
    std::set_terminate(on_terminate);
#ifdef __linux__
    if (!addresses_are_limited()) return;
    for (const int number : {SIGSEGV, SIGBUS, SIGABRT}) std::signal(number, on_crash);
#endif
}

}  // namespace zoodip
