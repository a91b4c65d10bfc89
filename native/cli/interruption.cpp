#include "cli/interruption.h"

#include <csignal>

namespace zoodip {
namespace {

volatile std::sig_atomic_t first_signal = 0;

extern "C" void on_signal(int signal) {
    if (first_signal == 0) first_signal = signal;
    interruption().cancel();
    std::signal(SIGINT, SIG_DFL);
}

}  // namespace

const CancelToken& interruption() {
    static const CancelToken token;
    return token;
}

void watch_for_interruption() {
    interruption();  // made here, not in the handler
    std::signal(SIGINT, on_signal);
    std::signal(SIGTERM, on_signal);
#ifndef _WIN32
    if (std::signal(SIGHUP, on_signal) == SIG_IGN) std::signal(SIGHUP, SIG_IGN);
    std::signal(SIGPIPE, on_signal);
#endif
}

int exit_status(int otherwise) {
    return first_signal == 0 ? otherwise : 128 + first_signal;
}

}  // namespace zoodip
