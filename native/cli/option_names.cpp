#include "cli/option_names.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <string_view>

#include "settings/settings.h"

namespace zoodip {
namespace {

// Options of the program that are no settings of a run.
constexpr std::array<std::string_view, 10> others = {
    "log",        "model",  "out", "overwrite",  "previews",
    "rank_limit", "resume", "to",  "token_file", "word"};

bool is_option(std::string_view name) {
    const auto& fields = train_setting_fields();
    const auto is_field = [&](const auto& field) { return field.name == name; };
    return std::find(others.begin(), others.end(), name) != others.end() ||
           std::any_of(fields.begin(), fields.end(), is_field);
}

}  // namespace

std::string with_options(const std::string& message) {
    std::string out;
    std::size_t at = 0;
    while (at < message.size()) {
        const std::size_t open = message.find('`', at);
        const std::size_t close = open == std::string::npos ? open : message.find('`', open + 1);
        if (close == std::string::npos) break;
        const std::string inside = message.substr(open + 1, close - open - 1);
        std::string name = inside.substr(0, inside.find(' '));
        out.append(message, at, open - at);
        if (is_option(name)) {
            std::replace(name.begin(), name.end(), '_', '-');
            out += "--" + name + inside.substr(name.size());
            at = close + 1;
        } else {  // what closes here may open the next
            out.append(message, open, close - open);
            at = close;
        }
    }
    return out.append(message, std::min(at, message.size()));
}

}  // namespace zoodip
