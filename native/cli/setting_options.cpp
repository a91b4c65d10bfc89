#include "cli/setting_options.h"

#include <algorithm>
#include <filesystem>

#include "cli/settings_page.h"

#include "core/error.h"
#include "core/json.h"
#include "io/atomic_file.h"
#include "pictures/caption_text.h"
#include "settings/settings.h"

namespace zoodip {
namespace {

std::string option_name(const std::string& setting) {
    std::string name = "--" + setting;
    std::replace(name.begin(), name.end(), '_', '-');
    return name;
}

std::string describe(const nlohmann::json& field) {
    std::string text = field["help"].get<std::string>();
    text += " [" + value_text(field["default"]) + "]";
    if (field["type"] != "boolean") text += " (" + range_text(field) + ")";
    if (field.contains("equation")) text += "  " + field["equation"].get<std::string>();
    return text;
}

nlohmann::json parse_typed(const std::string& type, const std::string& name,
                           const std::string& text) {
    if (type == "string") return text;
    if (type == "boolean" && (text == "on" || text == "true")) return true;
    if (type == "boolean" && (text == "off" || text == "false")) return false;
    const nlohmann::json value = parse_json(text);
    require(!value.is_discarded() && type != "boolean", option_name(name), ": '", text, "' is not ",
            type == "boolean"   ? "on or off"
            : type == "integer" ? "a whole number"
                                : "a number");
    return value;
}

// The text of a file of this name, where there is one.
std::string text_or_file(const std::string& given) {
    constexpr std::uint64_t most = 1 << 20;
    std::error_code none;
    if (given.find('\n') != std::string::npos || !std::filesystem::is_regular_file(given, none)) {
        return given;
    }
    return decode_text(read_file(given, most), given);
}

}  // namespace

void SettingOptions::add_to(CLI::App& command) {
    for (const auto& field : describe_fields(train_setting_fields())) {
        const auto name = field["name"].get<std::string>();
        command.add_option(option_name(name), typed_[name], describe(field))
            ->type_name(field["type"] == "boolean" ? "on|off" : "")
            ->group("Settings: " + field["group"].get<std::string>());
    }
}

nlohmann::json SettingOptions::chosen(const CLI::App& command) const {
    nlohmann::json out = nlohmann::json::object();
    for (const auto& field : describe_fields(train_setting_fields())) {
        const auto name = field["name"].get<std::string>();
        if (command.count(option_name(name)) == 0) continue;
        out[name] = parse_typed(field["type"], name, typed_.at(name));
        if (name == "templates") out[name] = text_or_file(typed_.at(name));
    }
    return out;
}

}  // namespace zoodip
