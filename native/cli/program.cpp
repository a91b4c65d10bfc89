#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <string>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <ATen/core/grad_mode.h>

#include "cli/commands.h"
#include "cli/interruption.h"
#include "cli/option_names.h"
#include "cli/usage.h"
#include "cli/want_of_memory.h"

#include "core/log.h"
#include "ops/plain_message.h"

namespace zoodip {
namespace {

void install_edges() {
    watch_for_interruption();
    watch_for_want_of_memory();
    set_log_sink([](LogLevel level, const std::string& message) {
        std::cerr << (level == LogLevel::warning ? "zoodip: warning: " : "zoodip: ")
                  << with_options(message) << '\n';
    });
}

// Large pages for torch's large tensors: a step touches gigabytes of short-lived memory, and with
// pages of 4 KB a fifth of its time went into page faults. And large blocks always straight from
// the system: kept in the heap, the packed weights between them would pin what was freed. Before
// torch allocates anything.
void prepare_memory() {
#ifdef __GLIBC__
    setenv("THP_MEM_ALLOC_ENABLE", "1", /*overwrite=*/0);
    mallopt(M_MMAP_THRESHOLD, 4 << 20);
#endif
}

int report(const std::string& message) {
    std::cerr << "\rzoodip: error: " << with_options(message) << '\n';
    return 1;
}

// Whether all that was printed went somewhere: the disk may be full, or the reader gone.
bool was_heard() {
    std::cout.flush();
    return std::cout.good() && std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
}

// Ends the process without the libraries' own clearing up: one that had no memory in the middle of
// making a kernel may have left behind what it cannot take down. Our own is done by now.
[[noreturn]] void leave(int status) {
    std::cout.flush();
    std::fflush(nullptr);
    std::_Exit(status);
}

int run_command(const Command& command) {
    try {
        const at::NoGradGuard no_grad;
        const int status = command(interruption());
        return status == 0 && !was_heard() ? exit_status(1) : status;
    } catch (const Cancelled&) {
        std::cerr << "\nzoodip: stopped; nothing was written\n";
        return exit_status(130);
    } catch (const std::exception& error) {
        const int status = report(plain_message(error));
        if (is_want_of_memory(error)) leave(status);
        return status;
    }
}

}  // namespace

int run_program(int argc, const char* const* argv) {
    prepare_memory();
    CLI::App app{
        "zoodip teaches a frozen, quantised Stable Diffusion a new word from a few "
        "pictures, by forward passes alone.",
        "zoodip"};
    app.set_version_flag("--version", ZOODIP_VERSION);
    app.require_subcommand(1);
    app.set_help_all_flag("--help-all", "Help for every command");
    app.failure_message(CLI::FailureMessage::help);
    Command chosen;
    add_train_command(app, chosen);
    add_sample_command(app, chosen);
    add_inspect_command(app, chosen);
    add_settings_command(app, chosen);
    add_token_command(app, chosen);
    add_serve_command(app, chosen);
    try {
        app.parse(plain_arguments(argc, argv));
    } catch (const CLI::ParseError& error) {
        if (error.get_exit_code() == 0) return app.exit(error);  // help, version
        std::cerr << "zoodip: error: " << usage_error(app, argc, argv, error)
                  << "\nRun zoodip --help, or zoodip COMMAND --help, for what there is.\n";
        return 2;
    }
    install_edges();
    return run_command(chosen);
}

}  // namespace zoodip
