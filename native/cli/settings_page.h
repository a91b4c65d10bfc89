// All settings as people read them, made from their declaration.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

namespace zoodip {

// "true", "0.005", "rge"; an empty text is "empty".
std::string value_text(const nlohmann::json& value);
// "whole number, 1 to 64", "true, false", "constant, linear, cosine", "any text".
std::string range_text(const nlohmann::json& field);

// For a terminal.
std::string settings_text();

// The reference page web/docs/settings.md: every setting by group, what the presets give, and the
// passes that a step of each method makes.
std::string settings_markdown();

}  // namespace zoodip
