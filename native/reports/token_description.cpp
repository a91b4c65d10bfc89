#include "reports/token_description.h"

#include <charconv>
#include <utility>

#include <ATen/ops/norm.h>

#include "core/error.h"
#include "core/listed.h"
#include "core/settings.h"
#include "settings/settings.h"

namespace zoodip {
namespace {

using nlohmann::json;

constexpr int max_depth = 8;        // our record has 3; deeper values would exhaust the stack
constexpr std::size_t shown = 160;  // bytes of a value
constexpr std::size_t shown_of_folder = 2000;

// What the file gives, or nothing when it is no JSON object that could be ours.
json parse_record(const std::string& text) {
    const auto watch = [](int depth, json::parse_event_t, json&) {
        require(depth <= max_depth, "nested too deeply");
        return true;
    };
    try {
        json record = json::parse(text, watch);
        return record.is_object() ? record : json::object();
    } catch (const std::exception&) {
        return json::object();
    }
}

std::string take_text(json& record, const char* name) {
    const auto found = record.find(name);
    if (found == record.end() || !found->is_string()) return {};
    auto text = found->get<std::string>();
    record.erase(found);
    return text;
}

std::optional<std::int64_t> parse_whole(const std::string& text) {
    std::int64_t value = 0;
    const char* end = text.data() + text.size();
    const auto [stopped, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc() || stopped != end) return std::nullopt;
    return value;
}

// Whether a run with the other settings alone would have taken this value: some defaults follow
// from other settings or from the model. A wired model leaves those of its schedule as they are.
bool is_default(const std::string& name, const json& known, const Architecture& architecture) {
    static const json untouched = get_fields(TrainSettings(), train_setting_fields());
    const json& value = known.at(name);
    if ((value == open_name || value == 0) && value == untouched.at(name)) return true;
    json others = known;
    others.erase(name);
    others.emplace("compute",
                   name_of(compute_type_names(),
                           ComputeType::float32));  // what auto would take depends on the processor
    try {
        const TrainSettings without = resolve_settings(others, architecture);
        return get_fields(without, train_setting_fields()).at(name) == known.at(name);
    } catch (const std::exception&) {
        return false;
    }
}

json changed_settings(const json& settings, std::int64_t text_width) {
    Architecture architecture;
    architecture.encoders = {{.width = text_width}};
    json known = json::object();
    for (const auto& field : train_setting_fields()) {
        if (settings.contains(field.name)) known[field.name] = settings[field.name];
    }
    json changed = json::object();
    for (const auto& [name, value] : settings.items()) {
        if (name == "vectors" && value == 1) continue;  // what 0 stands for with one word
        if (!known.contains(name) || !is_default(name, known, architecture)) changed[name] = value;
    }
    return changed;
}

void take_settings(json& record, std::int64_t text_width, TokenDescription& token) {
    const auto found = record.find("settings");
    if (found == record.end() || !found->is_object()) return;
    token.settings = *found;
    token.changed = changed_settings(token.settings, text_width);
    const auto seed = token.settings.find("seed");
    if (seed != token.settings.end() && seed->is_number_integer()) {
        token.seed = seed->get<std::int64_t>();
    }
    record.erase("settings");
}

// The caption of a picture; of templates the first, and how many there are.
std::string take_captions(json& picture) {
    const auto found = picture.find("captions");
    if (found == picture.end() || !found->is_array() || found->empty()) {
        return take_text(picture, "caption");
    }
    const json first = found->front();
    const std::size_t others = found->size() - 1;
    picture.erase("captions");
    if (!first.is_string()) return {};
    return others == 0 ? first.get<std::string>()
                       : concat(first.get<std::string>(), ", and ", others, " others by turns");
}

void take_pictures(json& record, TokenDescription& token) {
    const auto found = record.find("pictures");
    if (found == record.end() || !found->is_array()) return;
    for (json picture : *found) {
        token.pictures.push_back(
            {take_text(picture, "name"), take_text(picture, "sha256"), take_captions(picture)});
    }
    record.erase("pictures");
}

// Of several words that were learned together each has the record of all of them: the first one's
// word and initialiser at its root, those of the others beside them.
void take_words(json& record, TokenDescription& token) {
    const auto others = record.find("learned_with");
    if (others == record.end() || !others->is_array()) return;
    const json named = record.value("word", json());
    const std::string first = named.is_string() ? named.get<std::string>() : std::string();
    // Files are given other words; which one this was is written beside.
    const auto own = token.metadata.find("learned_as");
    const std::string learned = own == token.metadata.end() ? token.word : own->second;
    if (own != token.metadata.end()) token.metadata.erase(own);
    if (!first.empty() && first != learned) token.learned_with.push_back(first);
    for (json other : *others) {
        if (!other.is_object()) continue;
        const std::string word = take_text(other, "word");
        if (word.empty()) continue;
        if (word == learned) {
            token.initialiser = take_text(other, "initialiser");
        } else {
            token.learned_with.push_back(word);
        }
    }
    record.erase("learned_with");
}

void take_record(json record, std::int64_t text_width, TokenDescription& token) {
    token.ours = true;
    token.version = take_text(record, "zoodip");
    token.family = take_text(record, "family");
    token.initialiser = take_text(record, "initialiser");
    take_words(record, token);
    token.model = take_text(record, "model");
    token.folder = take_text(record, "folder");
    token.compute_choice = take_text(record, "compute_choice");
    take_settings(record, text_width, token);
    take_pictures(record, token);
    token.more = std::move(record);
}

TokenDescription::Encoder describe(const std::string& name, const at::Tensor& vectors,
                                   Dtype stored) {
    TokenDescription::Encoder encoder{
        name, vectors.size(0), vectors.size(1), dtype_name(stored), {}};
    for (std::int64_t i = 0; i < vectors.size(0); ++i) {
        encoder.norms.push_back(at::norm(vectors[i].to(at::kDouble)).item<double>());
    }
    return encoder;
}

// One line without control characters, which a terminal would obey; of UTF-8, cut between
// characters.
std::string printable(const std::string& text, std::size_t most = shown) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto byte = static_cast<unsigned char>(text[i]);
        const bool starts = (byte & 0xC0) != 0x80;
        if (starts && out.size() >= most) return out + "...";
        const bool c1 =
            byte == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xA0;
        if (c1) ++i;
        out += c1 || byte < 0x20 || byte == 0x7F ? ' ' : text[i];
    }
    return out;
}

std::string value_text(const json& value) {
    return printable(value.is_string() ? value.get<std::string>() : value.dump());
}

std::string list_text(const json& values) {
    std::string out;
    for (const auto& [name, value] : values.items()) {
        out += concat(out.empty() ? "" : ", ", printable(name), " ", value_text(value));
    }
    return out;
}

class Lines {
  public:
    void add(const std::string& name, const std::string& value) {
        if (value.empty()) return;
        const std::size_t column = 13;
        text_ += name + std::string(name.size() < column ? column - name.size() : 1, ' ') + value;
        text_ += '\n';
    }
    std::string take() { return std::move(text_); }

  private:
    std::string text_;
};

std::string format_text(const TokenDescription& token) {
    const std::string& key = token.keys.empty() ? std::string() : token.keys.begin()->second;
    if (token.format == TokenFormat::comfyui)
        return "comfyui (tensors called as the text encoders)";
    if (token.format == TokenFormat::a1111)
        return concat("a1111 (one tensor, ", printable(key), ")");
    if (is_format_key(key)) return concat("diffusers (", printable(key), ")");
    return "diffusers (one tensor, called as the word)";
}

std::string encoder_text(const TokenDescription::Encoder& encoder) {
    std::string norms;
    for (const double norm : encoder.norms) norms += concat(norms.empty() ? "" : ", ", norm);
    return concat(encoder.vectors, encoder.vectors == 1 ? " vector" : " vectors", " of ",
                  encoder.width, " numbers, norm ", printable(norms), ", stored as ",
                  encoder.stored);
}

void add_record(const TokenDescription& token, Lines& lines) {
    lines.add("initialiser", printable(token.initialiser));
    lines.add("learned with", printable(listed(token.learned_with)));
    lines.add("family", printable(token.family));
    if (token.seed) lines.add("seed", std::to_string(*token.seed));
    json changed = token.changed;
    if (token.seed) changed.erase("seed");
    if (!token.settings.empty()) {
        lines.add("settings",
                  changed.empty() ? "the defaults" : list_text(changed) + "; else the defaults");
    }
    lines.add("model", printable(token.model));
    if (!token.pictures.empty()) {
        lines.add("pictures", token.folder.empty() ? std::to_string(token.pictures.size())
                                                   : printable(token.folder, shown_of_folder));
    }
    lines.add("products", printable(token.compute_choice));
    for (const auto& picture : token.pictures) {
        lines.add("  " + printable(picture.name),
                  printable(concat(picture.sha256.substr(0, 12), "  ", picture.caption)));
    }
    for (const auto& [name, value] : token.more.items()) {
        if (name != "word") lines.add(printable(name), value_text(value));
    }
}

std::string maker(const TokenDescription& token) {
    if (!token.ours) return "another program, or unknown";
    if (token.version.empty()) return "zoodip; its record of how cannot be read";
    return "zoodip " + printable(token.version);
}

json or_null(const std::string& text) {
    return text.empty() ? json() : json(text);
}

}  // namespace

TokenDescription describe_token(const TokenFile& token) {
    TokenDescription out;
    out.word = token.word;
    out.format = token.format;
    out.others = token.others;
    out.not_read = describe_others(token);
    out.keys = token.keys;
    for (const auto& [name, vectors] : token.vectors) {
        out.encoders.push_back(describe(name, vectors, token.stored.at(name)));
    }
    out.metadata = token.metadata;
    const auto step = out.metadata.find("step");
    if (step != out.metadata.end() && (out.step = parse_whole(step->second))) {
        out.metadata.erase(step);
    }
    const auto finished = out.metadata.find("finished");
    if (finished != out.metadata.end() && finished->second == "true") {
        out.finished = true;
        out.metadata.erase(finished);
    }
    const auto record = out.metadata.find("zoodip");
    if (record != out.metadata.end()) {
        std::int64_t width = 0;  // of one vector, in all text encoders together
        for (const auto& [encoder, vectors] : token.vectors) width += vectors.size(1);
        take_record(parse_record(record->second), width, out);
        out.metadata.erase(record);
    }
    // What they say is said already; "pt" is which library the tensors are from.
    const std::pair<const char*, std::string> said[] = {{"word", out.word}, {"format", "pt"}};
    for (const auto& [name, value] : said) {
        const auto found = out.metadata.find(name);
        if (found != out.metadata.end() && found->second == value) out.metadata.erase(found);
    }
    return out;
}

json to_json(const TokenDescription& token) {
    json encoders = json::array(), pictures = json::array();
    for (const auto& each : token.encoders) {
        encoders.push_back({{"name", each.name},
                            {"vectors", each.vectors},
                            {"width", each.width},
                            {"stored", each.stored},
                            {"norms", each.norms}});
    }
    for (const auto& each : token.pictures) {
        pictures.push_back(
            {{"name", each.name}, {"sha256", each.sha256}, {"caption", each.caption}});
    }
    json record;
    if (token.ours) {
        record = {{"version", or_null(token.version)},
                  {"family", or_null(token.family)},
                  {"initialiser", or_null(token.initialiser)},
                  {"learned_with", token.learned_with},
                  {"model", or_null(token.model)},
                  {"seed", token.seed ? json(*token.seed) : json()},
                  {"settings", token.settings},
                  {"changed", token.changed},
                  {"pictures", pictures},
                  {"folder", or_null(token.folder)},
                  {"compute_choice", or_null(token.compute_choice)},
                  {"more", token.more}};
    }
    return {{"word", or_null(token.word)},
            {"format", token_format_name(token.format)},
            {"encoders", encoders},
            {"others", token.others},
            {"step", token.step ? json(*token.step) : json()},
            {"finished", token.finished},
            {"zoodip", record},
            {"metadata", token.metadata}};
}

std::string to_text(const TokenDescription& token) {
    Lines lines;
    lines.add("word", token.word.empty()
                          ? "none that prompts can use; convert it under another name"
                          : token.word);
    lines.add("format", format_text(token));
    for (const auto& encoder : token.encoders) lines.add(encoder.name, encoder_text(encoder));
    for (const auto& other : token.not_read) lines.add("not read", printable(other));
    lines.add("made by", maker(token));
    if (token.step) {
        lines.add("step", concat(*token.step, token.finished ? ", the last of its run" : ""));
    }
    if (token.ours) add_record(token, lines);
    for (const auto& [name, value] : token.metadata) lines.add(printable(name), printable(value));
    return lines.take();
}

}  // namespace zoodip
