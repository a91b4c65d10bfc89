// JSON that comes from files and from users.
#pragma once

#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace zoodip {

// Deeper than anything that is read here. Values are copied, compared and printed by recursion, so
// that without a limit a file of brackets would overflow the stack.
inline constexpr int max_json_depth = 64;

// The value of a JSON text; discarded (is_discarded()) for one that is not JSON, is not UTF-8,
// holds a NUL or has more than max_json_depth arrays and objects within each other.
nlohmann::json parse_json(std::string_view text);

// A value for a message, whatever bytes its strings hold: U+FFFD stands for what is not UTF-8.
std::string show_json(const nlohmann::json& value);

// Whether a text can be written as JSON.
bool is_utf8(const std::string& text);

}  // namespace zoodip
