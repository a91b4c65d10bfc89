#include "words/token_keys.h"

#include <algorithm>
#include <array>
#include <map>
#include <string_view>

#include "core/ascii.h"
#include "core/error.h"

namespace zoodip {
namespace {

constexpr std::array<const char*, 3> encoders = {"clip_l", "clip_g", "clip_h"};
constexpr std::array<const char*, 5> only_tensors = {"emb_params", "emp_params", "string_to_param",
                                                     "string_to_param.*", "*"};
constexpr std::array<const char*, 8> lora_parts = {"lora_up.",   "lora_down.", "lora.up.",
                                                   "lora.down.", ".lora_A.",   ".lora_B.",
                                                   "hada_w1",    "lokr_w1"};
// Names of a single tensor that say what it is and not what it stands for.
constexpr std::array<const char*, 8> plain_names = {
    "emb", "embed", "embedding", "embeddings", "learned_embeds", "vector", "vectors", "weight"};
constexpr std::string_view bundle = "bundle_emb.";

// The name of a tensor, without what stands before it in a bundle -> the tensor.
using Names = std::map<std::string, const TensorInfo*>;

template <class List>
bool holds(const List& list, const std::string& name) {
    return std::find(list.begin(), list.end(), name) != list.end();
}

bool any_name(const Names& names, std::initializer_list<const char*> signs) {
    return std::any_of(names.begin(), names.end(), [&](const auto& named) {
        return std::any_of(signs.begin(), signs.end(), [&](const char* sign) {
            return named.first.find(sign) != std::string::npos;
        });
    });
}

// What else than a token a file with these tensors is; nullptr when nothing tells. Words may look
// like parts of names, so that a single tensor has to say more.
const char* other_file(const Names& names) {
    const auto is_part = [](const auto& named) { return is_lora_part(named.first); };
    if (std::any_of(names.begin(), names.end(), is_part)) return "a LoRA, not a token";
    if (any_name(names, {"model.diffusion_model.", "cond_stage_model.", "first_stage_model."})) {
        return "a checkpoint, not a token";
    }
    if (names.size() < 2) return nullptr;
    if (any_name(names, {"text_model.", "down_blocks.", "decoder."})) {
        return "a part of a model, not a token";
    }
    if (names.count("theta") > 0 && names.count("m") > 0 && names.count("v") > 0) {
        return "the state of a stopped training, not its token";
    }
    return nullptr;
}

// <cat-toy> -> cat-toy: diffusers' example puts its words into brackets.
std::string without_brackets(const std::string& name) {
    const bool bracketed = name.size() > 2 && name.front() == '<' && name.back() == '>';
    return bracketed ? name.substr(1, name.size() - 2) : name;
}

TokenKeys by_name(const Names& names) {
    TokenKeys keys;
    for (const char* encoder : encoders) {
        const auto found = names.find(encoder);
        if (found != names.end()) keys.vectors.emplace_back(encoder, found->second);
    }
    if (!keys.vectors.empty()) return keys;
    const auto first = names.find("text_encoders_0"), second = names.find("text_encoders_1");
    if (first != names.end() && second != names.end()) {
        return {
            TokenFormat::diffusers, {{"clip_l", first->second}, {"clip_g", second->second}}, {}};
    }
    if (first != names.end()) return {TokenFormat::diffusers, {{"", first->second}}, {}};
    for (const char* only : only_tensors) {
        const auto found = names.find(only);
        if (found != names.end()) return {TokenFormat::a1111, {{"", found->second}}, {}};
    }
    return keys;
}

TokenKeys by_only_name(const Names& names) {
    const auto& [name, info] = *names.begin();
    TokenKeys keys{TokenFormat::diffusers, {{"", info}}, {}};
    if (!holds(plain_names, name)) keys.words.push_back(without_brackets(name));
    return keys;
}

// The words inside a LoRA: each with the names of its tensors.
std::map<std::string, Names> bundled(const Names& names) {
    std::map<std::string, Names> words;
    for (const auto& [name, info] : names) {
        if (!name.starts_with(bundle)) continue;
        const std::size_t dot = name.find('.', bundle.size());
        if (dot == std::string::npos) continue;
        words[name.substr(bundle.size(), dot - bundle.size())][name.substr(dot + 1)] = info;
    }
    return words;
}

TokenKeys one_of_bundle(const std::map<std::string, Names>& words, const std::string& asked,
                        const std::string& file) {
    auto chosen = words.begin();
    if (words.size() > 1) {
        chosen = std::find_if(words.begin(), words.end(), [&](const auto& word) {
            return lower_ascii(word.first) == lower_ascii(asked);
        });
        std::string list;
        for (const auto& word : words) list += (list.empty() ? "" : ", ") + word.first;
        require(chosen != words.end(), file, ": is a LoRA that holds ", words.size(), " words (",
                list, "). Say which one, as its word");
    }
    TokenKeys keys = by_name(chosen->second);
    if (keys.vectors.empty() && chosen->second.size() == 1) keys = by_only_name(chosen->second);
    require(!keys.vectors.empty(), file, ": is a LoRA whose word '", chosen->first,
            "' has no vectors that are known, but ", chosen->second.begin()->first);
    keys.words = {chosen->first};
    return keys;
}

std::string counted(const Names& names) {
    if (names.empty()) return "no tensors";
    if (names.size() == 1) return concat("one tensor, ", names.begin()->first);
    return concat(names.size(), " tensors, the first ", names.begin()->first);
}

}  // namespace

bool is_output_vector(const std::string& key) {
    return key.ends_with("_out");
}

bool is_lora_part(const std::string& key) {
    return std::any_of(lora_parts.begin(), lora_parts.end(),
                       [&](const char* part) { return key.find(part) != std::string::npos; });
}

bool is_format_key(const std::string& name) {
    return holds(only_tensors, name) || holds(encoders, name) || holds(plain_names, name) ||
           name.starts_with("text_encoders_");
}

TokenKeys find_token_keys(const SafetensorsFile& file, const std::string& asked) {
    Names names;
    for (const TensorInfo& info : file.tensors()) names[info.name] = &info;
    TokenKeys keys = by_name(names);
    if (!keys.vectors.empty()) return keys;
    const auto words = bundled(names);
    if (!words.empty()) return one_of_bundle(words, asked, file.path().string());
    const char* what = other_file(names);
    if (what == nullptr && names.size() == 1) return by_only_name(names);
    fail(file.path().string(), ": is ", what == nullptr ? "no token file" : what,
         "; a token file holds clip_l or emb_params, and this one has ", counted(names),
         ". Choose a file that a Textual Inversion made");
}

}  // namespace zoodip
