#include "cli/usage.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "core/error.h"
#include "core/listed.h"
#include "core/settings.h"
#include "core/suggest.h"

namespace zoodip {
namespace {

bool is_option(const std::string& word) {
    return word.size() > 1 && word[0] == '-' && word != "--" &&
           std::string_view("0123456789.").find(word[1]) == std::string_view::npos;
}

std::vector<std::string> options_of(const CLI::App& command) {
    std::vector<std::string> names;
    for (const CLI::Option* option : command.get_options()) {
        for (const auto& name : option->get_lnames()) names.push_back("--" + name);
    }
    return names;
}

// The first option that a command does not know; empty when it knows all.
std::string unknown_option(const CLI::App& command) {
    const std::vector<std::string> known = options_of(command);
    for (const std::string& word : command.remaining()) {
        if (!is_option(word)) continue;
        const std::string name = word.substr(0, word.find('='));
        return concat(command.get_name(), ": there is no option '", name, "'",
                      did_you_mean(name, known));
    }
    return {};
}

// The first option with more values or fewer than it takes; empty when there is none.
std::string wrong_count(const CLI::App& command) {
    for (const CLI::Option* option : command.get_options()) {
        const std::size_t given = option->results().size();
        if (option->get_expected_max() != 1 || option->get_items_expected_max() != 1) continue;
        if (option->get_multi_option_policy() != CLI::MultiOptionPolicy::Throw) continue;
        if (given < 2) continue;
        return concat(command.get_name(), ": ", option->get_name(), " is given ",
                      given == 2 ? "twice" : concat(given, " times"), "; give it once");
    }
    return {};
}

// An option that took the one behind it for its value, as CLI11 lets it; empty without one.
std::string taken_option(const CLI::App& command) {
    const std::vector<std::string> known = options_of(command);
    for (const CLI::Option* option : command.get_options()) {
        for (const std::string& value : option->results()) {
            if (std::find(known.begin(), known.end(), value) == known.end()) continue;
            return concat(command.get_name(), ": ", option->get_name(), " needs a value");
        }
    }
    return {};
}

// What CLI11 says of an option at the end of the line.
std::string missing_value(const CLI::App& command, const CLI::ParseError& error) {
    const std::string text = error.what(), name = text.substr(0, text.find(':'));
    const bool missing = error.get_name() == "ArgumentMismatch" && is_option(name) &&
                         text.find("required") != std::string::npos;
    return missing ? concat(command.get_name(), ": ", name, " needs a value") : std::string();
}

std::string option_error(const CLI::App& command, const CLI::ParseError& error) {
    for (const std::string& found : {unknown_option(command), taken_option(command),
                                     wrong_count(command), missing_value(command, error)}) {
        if (!found.empty()) return found;
    }
    return error.what();
}

std::optional<double> parse_number(const std::string& text) {
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    if (text.empty() || *end != '\0' || !std::isfinite(value)) return std::nullopt;
    return value;
}

std::optional<std::int64_t> parse_whole(const std::string& text) {
    std::int64_t value = 0;
    const char* end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data(), end, value);
    if (parsed.ec != std::errc() || parsed.ptr != end) return std::nullopt;
    return value;
}

}  // namespace

std::vector<std::string> plain_arguments(int argc, const char* const* argv) {
    std::vector<std::string> words(argv + 1, argv + argc);
    for (std::string& word : words) {
        if (word == "--") break;
        if (!word.starts_with("--")) continue;
        const std::size_t end = std::min(word.find('='), word.size());
        std::replace(word.begin(), word.begin() + static_cast<std::ptrdiff_t>(end), '_', '-');
    }
    std::reverse(words.begin(), words.end());
    return words;
}

std::string usage_error(const CLI::App& app, int argc, const char* const* argv,
                        const CLI::ParseError& error) {
    const CLI::App* at = &app;
    std::string before;  // "token " behind that command
    for (int i = 1;; ++i) {
        std::vector<std::string> names;
        for (const CLI::App* command : at->get_subcommands({})) {
            names.push_back(command->get_name());
        }
        if (names.empty()) return option_error(*at, error);
        if (i >= argc) return concat("a command is needed: ", before, listed_or(names));
        const std::string word = argv[i];
        if (word.empty() || word.front() == '-') return error.what();
        if (std::find(names.begin(), names.end(), word) == names.end()) {
            return concat("there is no command '", before, word, "'; did you mean '", before,
                          closest(word, names), "'?");
        }
        at = at->get_subcommand(word);
        before += word + ' ';
    }
}

CLI::Validator whole_number(std::int64_t low, std::int64_t high) {
    const auto check = [low, high](const std::string& text) {
        const auto value = parse_whole(text);
        if (value && *value >= low && *value <= high) return std::string();
        return concat("needs a whole number from ", low, " to ", high, ", got '", text, "'");
    };
    return {check, concat(low, " to ", high)};
}

CLI::Validator number(double low, double high) {
    const auto check = [low, high](const std::string& text) {
        const auto value = parse_number(text);
        if (value && *value >= low && *value <= high) return std::string();
        return concat("needs a number from ", format_number(low), " to ", format_number(high),
                      ", got '", text, "'");
    };
    return {check, concat(format_number(low), " to ", format_number(high))};
}

}  // namespace zoodip
