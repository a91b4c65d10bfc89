#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <memory>
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

// Whether this process is a rank that leaves the talking to rank 0.
bool is_quiet(const std::shared_ptr<Wire>& wire) {
    return wire != nullptr && wire->rank() > 0;
}

void install_edges(bool quiet) {
    watch_for_interruption();
    watch_for_want_of_memory();
    if (quiet) return set_log_sink({});
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

// who: which rank says it; empty for one that speaks for all.
int report(const std::string& who, const std::string& message) {
    // As one piece: ranks share a terminal.
    std::cerr << concat("\rzoodip: error: ", who, with_options(message), "\n");
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

int run_command(const Command& command, const std::shared_ptr<Wire>& wire) {
    const std::string who = is_quiet(wire) ? wire->name_of(wire->rank()) + ": " : "";
    try {
        const at::NoGradGuard no_grad;
        const int status = command(interruption());
        return status == 0 && !was_heard() ? exit_status(1) : status;
    } catch (const Cancelled&) {
        if (!is_quiet(wire)) std::cerr << "\nzoodip: stopped; nothing was written\n";
        return exit_status(130);
    } catch (const std::exception& error) {
        const int status = report(who, plain_message(error));
        if (is_want_of_memory(error)) leave(status);
        return status;
    }
}

int refuse_usage(const std::shared_ptr<Wire>& wire, const std::string& why) {
    if (!is_quiet(wire)) {
        std::cerr << "zoodip: error: " << why
                  << "\nRun zoodip --help, or zoodip COMMAND --help, for what there is.\n";
    }
    return 2;
}

}  // namespace

int run_program(int argc, const char* const* argv, const std::shared_ptr<Wire>& wire) {
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
    add_train_command(app, chosen, wire);
    add_sample_command(app, chosen);
    add_inspect_command(app, chosen);
    add_settings_command(app, chosen);
    add_token_command(app, chosen);
    add_serve_command(app, chosen);
    try {
        app.parse(plain_arguments(argc, argv));
    } catch (const CLI::ParseError& error) {
        if (error.get_exit_code() != 0) {
            return refuse_usage(wire, usage_error(app, argc, argv, error));
        }
        return is_quiet(wire) ? 0 : app.exit(error);  // help, version
    }
    const std::string command = app.get_subcommands().front()->get_name();
    if (wire != nullptr && command != "train") {
        return refuse_usage(wire, concat(command, ": runs in one process, and ", wire->size(),
                                         " ranks were started; start it without torchrun"));
    }
    install_edges(is_quiet(wire));
    return run_command(chosen, wire);
}

}  // namespace zoodip
