#include "core/forked.h"

#include <atomic>

#ifndef _WIN32
#include <pthread.h>
#endif
#if defined(__has_include)
#if __has_include(<sys/single_threaded.h>)
#include <sys/single_threaded.h>
#define ZOODIP_TELLS_THREADS
#endif
#endif

namespace zoodip {
namespace {

std::atomic<bool> had_threads{false}, forked{false};

#ifndef _WIN32

// Called by the thread that forks, before it does.
void before_fork() {
#ifdef ZOODIP_TELLS_THREADS
    had_threads = had_threads || __libc_single_threaded == 0;
#else
    had_threads = true;
#endif
}

void after_fork_in_child() {
    forked = had_threads.load();
}

[[maybe_unused]] const int watched = pthread_atfork(before_fork, nullptr, after_fork_in_child);

#endif

}  // namespace

bool forked_from_threads() noexcept {
    return forked;
}

}  // namespace zoodip
