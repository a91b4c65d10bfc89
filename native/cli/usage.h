// Command lines as people write them, and what is said of those that cannot be read.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace zoodip {

// The arguments behind the program's name, last first, as CLI::App::parse takes them. Options may
// be written with underscores: --learning_rate is --learning-rate.
std::vector<std::string> plain_arguments(int argc, const char* const* argv);

// One sentence for what CLI11 refused. It speaks of subcommands and counts of arguments, and does
// not say which word was meant.
std::string usage_error(const CLI::App& app, int argc, const char* const* argv,
                        const CLI::ParseError& error);

// Refuse text that is no number of the range: "needs a whole number from 1 to 999, got 'x'".
CLI::Validator whole_number(std::int64_t low, std::int64_t high);
CLI::Validator number(double low, double high);

}  // namespace zoodip
