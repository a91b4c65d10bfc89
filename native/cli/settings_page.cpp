#include "cli/settings_page.h"

#include <algorithm>
#include <cctype>
#include <sstream>
#include <vector>

#include "core/error.h"
#include "nn/families.h"
#include "settings/settings.h"

namespace zoodip {
namespace {

using nlohmann::json;

// The groups in the order of their first setting.
std::vector<std::string> group_names(const json& fields) {
    std::vector<std::string> names;
    for (const auto& field : fields) {
        const auto group = field["group"].get<std::string>();
        if (std::find(names.begin(), names.end(), group) == names.end()) names.push_back(group);
    }
    return names;
}

std::string capitalised(std::string text) {
    text[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(text[0])));
    return text;
}

std::string code(const std::string& text) {
    return concat('`', text, '`');
}

// A cell of a table: a bar would end it.
std::string cell(const std::string& text) {
    std::string out;
    for (const char c : text) {
        if (c == '|') out += '\\';
        out += c;
    }
    return out;
}

void add_row(std::ostream& out, const std::vector<std::string>& cells) {
    for (const auto& each : cells) out << "| " << each << ' ';
    out << "|\n";
}

void add_head(std::ostream& out, const std::vector<std::string>& titles) {
    add_row(out, titles);
    for (std::size_t i = 0; i < titles.size(); ++i) out << "|-";
    out << "|\n";
}

std::string meaning(const json& field) {
    std::string text = field["help"].get<std::string>();
    if (field.contains("equation")) text += concat(' ', code(field["equation"]));
    if (field.contains("notes")) text += concat(' ', field["notes"].get<std::string>());
    if (!field.value("decides", true)) text += " Does not change what is learned.";
    return text;
}

std::string range_with_unit(const json& field) {
    const std::string range = range_text(field);
    return field.contains("unit") ? concat(range, ", ", field["unit"].get<std::string>()) : range;
}

void add_group(std::ostream& out, const json& fields, const std::string& group) {
    out << "\n## " << capitalised(group) << "\n\n";
    add_head(out, {"Setting", "Default", "Range", ""});
    for (const auto& field : fields) {
        if (field["group"] != group) continue;
        add_row(out, {code(field["name"]), value_text(field["default"]), range_with_unit(field),
                      cell(meaning(field))});
    }
}

// That for few passes, and the paper's for each family.
NameTable<Preset> shown_presets() {
    NameTable<Preset> shown;
    for (const auto& [preset, name] : preset_names()) {
        const bool few = preset.kind == Preset::few_passes;
        if (few || preset.family != nullptr) shown.push_back({preset, name});
    }
    return shown;
}

// What each preset makes of a setting; with `compute` named, for auto depends on the processor.
std::vector<json> by_preset(const Setting<TrainSettings>& field) {
    std::vector<json> values;
    for (const auto& [preset, name] : shown_presets()) {
        // Of a family that was made for two sizes the larger, which the paper has.
        Architecture known;
        if (preset.family != nullptr) known.resolution = preset.family->resolution(Prediction::v);
        values.push_back(
            get_field(resolve_settings({{"preset", name}, {"compute", "fp32"}}, known), field));
    }
    return values;
}

// Decided by the model's files, whatever the preset.
bool follows_files(const std::string& name) {
    return name == "prediction" || name == "zero_snr" || name.starts_with("beta_");
}

void add_presets(std::ostream& out) {
    out << "\n## Presets\n\n"
           "What is chosen goes before a preset. Where 0 is the default, this is what it stands "
           "for by estimates, `mu` with\n`compute` fp32; a `learning_rate` of 0 stays a share of "
           "what the model's words are like. `paper`, and by estimates\n`auto`, are the one of "
           "sd15, sd21 and sdxl that suits the model. All other settings are as above in every\n"
           "preset.\n\n";
    std::vector<std::string> titles = {"Setting"};
    for (const auto& [preset, name] : shown_presets()) titles.push_back(code(name));
    add_head(out, titles);
    for (const auto& field : train_setting_fields()) {
        if (field.name == "preset" || field.name == "compute") continue;
        if (follows_files(field.name)) continue;
        const std::vector<json> values = by_preset(field);
        const json usual = get_field(TrainSettings{}, field);
        const auto same = [&](const json& value) { return value == usual; };
        if (std::all_of(values.begin(), values.end(), same)) continue;
        std::vector<std::string> cells = {code(field.name)};
        for (const auto& value : values) cells.push_back(value_text(value));
        add_row(out, cells);
    }
}

std::string passes_text(const std::string& method, std::int64_t n) {
    const StepPasses passes = passes_of(resolve_settings({{"method", method}, {"n", n}}));
    std::string text = std::to_string(passes.forward);
    if (passes.backward > 0) text += concat(" and ", passes.backward, " backward");
    return text;
}

void add_passes(std::ostream& out) {
    out << "\n## Passes of a step\n\n"
           "Forward passes of the UNet that one step of each `method` makes with `batch` 1; a "
           "larger `batch` makes as\nmany times more. Time goes with them. `steps` and "
           "`learning_rate` are those that 0 stands for.\n\n";
    const std::int64_t counts[] = {1, 2, 4, 8};
    std::vector<std::string> titles = {"`method`"};
    for (const auto n : counts) titles.push_back(concat("`n` ", n));
    titles.insert(titles.end(), {"`steps`", "`learning_rate`"});
    add_head(out, titles);
    for (const auto& [method, name] : method_names()) {
        if (!method) continue;  // takes one of the others
        const TrainSettings settings = resolve_settings({{"method", name}});
        std::vector<std::string> cells = {code(name)};
        for (const auto n : counts) cells.push_back(passes_text(name, n));
        cells.push_back(std::to_string(settings.steps));
        cells.push_back(format_number(settings.learning_rate));
        add_row(out, cells);
    }
}

// The words of a text in lines of at most 76 characters, each behind a margin.
std::string wrapped(const std::string& text, const std::string& margin) {
    std::istringstream words(text);
    std::string word, line, out;
    while (words >> word) {
        if (!line.empty() && line.size() + 1 + word.size() > 76) {
            out += margin + line + '\n';
            line.clear();
        }
        line += (line.empty() ? "" : " ") + word;
    }
    return out + margin + line + '\n';
}

}  // namespace

std::string value_text(const json& value) {
    if (value.is_number()) return format_number(value.get<double>());
    if (!value.is_string()) return value.dump();
    const auto text = value.get<std::string>();
    if (text.empty()) return "empty";
    return text;
}

std::string range_text(const json& field) {
    if (field["type"] == "boolean") return "true, false";
    if (field.contains("minimum")) {
        return concat(field["type"] == "integer" ? "whole number, " : "number, ",
                      format_number(field["minimum"]), " to ", format_number(field["maximum"]));
    }
    if (!field.contains("choices")) return "any text";
    std::string list;
    for (const auto& choice : field["choices"]) {
        list += (list.empty() ? "" : ", ") + choice.get<std::string>();
    }
    return list;
}

std::string settings_text() {
    std::ostringstream out;
    const json fields = describe_fields(train_setting_fields());
    for (const auto& group : group_names(fields)) {
        out << capitalised(group) << '\n';
        for (const auto& field : fields) {
            if (field["group"] != group) continue;
            out << "  " << field["name"].get<std::string>() << "  [" << value_text(field["default"])
                << "]  (" << range_with_unit(field) << ")\n"
                << wrapped(field["help"], "      ");
            if (field.contains("equation")) {
                out << "      " << field["equation"].get<std::string>() << '\n';
            }
        }
        out << '\n';
    }
    return out.str();
}

std::string settings_markdown() {
    std::ostringstream out;
    const json fields = describe_fields(train_setting_fields());
    out << "# Settings\n\n"
           "Every setting of a training. They have the same names in Python "
           "(`zoodip.train(..., learning_rate=0.01)`), in\nJSON and on the nodes; on the command "
           "line with dashes (`--learning-rate 0.01`, `--subspace off`). An unknown\nname and a "
           "value out of range are refused. This page is what `zoodip settings --markdown` "
           "prints.\n";
    for (const auto& group : group_names(fields)) add_group(out, fields, group);
    add_presets(out);
    add_passes(out);
    return out.str();
}

}  // namespace zoodip
