// The commands of the program. Each registers its options and runs when it was chosen.
#pragma once

#include <functional>
#include <memory>

#include <CLI/CLI.hpp>

#include "ranks/wire.h"

#include "core/cancel.h"

namespace zoodip {

// What a command leaves behind: the work to do, which returns the program's exit status.
using Command = std::function<int(const CancelToken&)>;

// wire: to the other ranks of the run; null for one process.
void add_train_command(CLI::App& app, Command& chosen, const std::shared_ptr<Wire>& wire);
void add_sample_command(CLI::App& app, Command& chosen);
void add_inspect_command(CLI::App& app, Command& chosen);
void add_settings_command(CLI::App& app, Command& chosen);
void add_token_command(CLI::App& app, Command& chosen);
void add_serve_command(CLI::App& app, Command& chosen);

// Parses and runs. Errors go to standard error as one line; returns the exit status: 0 done,
// 1 failed, 2 wrong usage, 130 stopped by Ctrl-C, 128 + n by signal n. wire: of a program that is
// one of several ranks; all but rank 0 say nothing but why they fail.
int run_program(int argc, const char* const* argv, const std::shared_ptr<Wire>& wire = nullptr);

}  // namespace zoodip
