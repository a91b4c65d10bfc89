#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <string>
#include <vector>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>

#include "cli/commands.h"

#include "core/log.h"
#include "core/settings.h"

namespace zoodip {
namespace {

const CancelToken& interrupt_token() {
    static const CancelToken token;
    return token;
}

// The first Ctrl-C stops and keeps; the second ends the program at once.
extern "C" void on_interrupt(int) {
    interrupt_token().cancel();
    std::signal(SIGINT, SIG_DFL);
}

void install_edges() {
    interrupt_token();
    std::signal(SIGINT, on_interrupt);
    std::signal(SIGTERM, on_interrupt);
    set_log_sink([](LogLevel level, const std::string& message) {
        std::cerr << (level == LogLevel::warning ? "zoodip: warning: " : "zoodip: ") << message
                  << '\n';
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
    std::cerr << "\rzoodip: error: " << message << '\n';
    return 1;
}

constexpr const char* needs_less = "A smaller --resolution or --n needs less";

// Torch's allocators throw its own error, of several lines.
int report_torch(const std::string& message) {
    for (const char* sign : {"can't allocate memory", "out of memory"}) {
        if (message.find(sign) == std::string::npos) continue;
        return report(concat("out of memory. ", needs_less, " (", message, ")"));
    }
    return report(message);
}

// The message for the first option that a command does not know; empty when it knows all.
std::string unknown_option(const CLI::App& command) {
    std::vector<std::string> known;
    for (const CLI::Option* option : command.get_options()) {
        for (const auto& name : option->get_lnames()) known.push_back("--" + name);
    }
    for (const std::string& word : command.remaining()) {
        if (!word.starts_with("--") || word.size() == 2) continue;
        const std::string name = word.substr(0, word.find('='));
        return concat(command.get_name(), ": there is no option '", name, "'; did you mean '",
                      nearest_name(name, known), "'?");
    }
    return {};
}

std::string listed(const std::vector<std::string>& names) {
    std::string out;
    for (std::size_t i = 0; i < names.size(); ++i) {
        out += (i == 0 ? "" : i + 1 == names.size() ? " or " : ", ") + names[i];
    }
    return out;
}

// CLI11 speaks of subcommands and does not say which word was meant.
std::string usage_error(const CLI::App& app, int argc, const char* const* argv,
                        const CLI::ParseError& error) {
    const CLI::App* at = &app;
    std::string before;  // "token " behind that command
    for (int i = 1;; ++i) {
        std::vector<std::string> names;
        for (const CLI::App* command : at->get_subcommands({})) {
            names.push_back(command->get_name());
        }
        if (names.empty()) {
            const std::string unknown = unknown_option(*at);
            return unknown.empty() ? error.what() : unknown;
        }
        if (i >= argc) return concat("a command is needed: ", before, listed(names));
        const std::string word = argv[i];
        if (word.empty() || word.front() == '-') return error.what();
        if (std::find(names.begin(), names.end(), word) == names.end()) {
            return concat("there is no command '", before, word, "'; did you mean '", before,
                          nearest_name(word, names), "'?");
        }
        at = at->get_subcommand(word);
        before += word + ' ';
    }
}

int run_command(const Command& command) {
    try {
        const at::NoGradGuard no_grad;
        return command(interrupt_token());
    } catch (const Cancelled&) {
        std::cerr << "\nzoodip: stopped; nothing was written\n";
        return 130;
    } catch (const c10::Error& error) {
        return report_torch(error.what_without_backtrace());
    } catch (const std::bad_alloc&) {
        return report(concat("out of memory. ", needs_less));
    } catch (const std::exception& error) {
        return report(error.what());
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
        app.parse(argc, argv);
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
