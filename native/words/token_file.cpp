#include "words/token_file.h"

#include <algorithm>
#include <array>
#include <utility>

#include <ATen/ops/isfinite.h>

#include "core/error.h"
#include "core/listed.h"
#include "core/log.h"
#include "nn/safetensors_source.h"
#include "nn/tensor_file.h"
#include "words/token_keys.h"
#include "words/word.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t max_vectors = 75;   // what the text encoder reads at once
constexpr std::int64_t max_width = 65536;  // far above that of any text encoder

void refuse_pickle(const fs::path& file) {
    std::string ending = file.extension().string();
    for (char& c : ending) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    for (const char* pickle : {".pt", ".pti", ".bin", ".ckpt", ".pth", ".pkl"}) {
        require(ending != pickle, file.string(), ": is a Python pickle (", pickle,
                "), which can run code when it is loaded. Use its .safetensors form; or, in "
                "ComfyUI, open it with Load Token (ZO), which takes plain tensors alone, and save "
                "it with Save Token (ZO)");
    }
}

// Before a byte of it is read: a damaged file may claim any size.
void check_stored(const TensorInfo& info, const fs::path& file) {
    const auto is = {Dtype::f16, Dtype::bf16, Dtype::f32, Dtype::f64};
    require(std::find(is.begin(), is.end(), info.dtype) != is.end(), file.string(),
            ": is no token file; ", info.name, " holds ", dtype_name(info.dtype),
            ", expected F16, BF16, F32 or F64");
    const auto& shape = info.shape;
    require((shape.size() == 1 || shape.size() == 2) && info.begin < info.end &&
                shape.back() <= max_width,
            file.string(), ": is no token; ", info.name, " has shape ",
            concat(at::IntArrayRef(shape)), ", expected [vectors, width]");
    require(shape.size() == 1 || shape[0] <= max_vectors, file.string(), ": is no token; ",
            info.name, " has ", shape[0], " vectors, and the text encoder reads ", max_vectors,
            " at once");
}

at::Tensor read_vectors(const SafetensorsFile& file, const TensorInfo& info) {
    check_stored(info, file.path());
    const at::Tensor vectors =
        read_tensor(file, info).to(at::kFloat).reshape({-1, info.shape.back()});
    require(at::isfinite(vectors).all().item<bool>(), file.path().string(), ": ", info.name,
            " holds NaN or infinity. Train the word again");
    return vectors;
}

std::vector<std::string> names_in(const SafetensorsFile& file, const TokenKeys& keys) {
    std::vector<std::string> names;
    const auto word = file.metadata().find("word");
    if (word != file.metadata().end()) names.push_back(word->second);
    names.insert(names.end(), keys.words.begin(), keys.words.end());
    names.push_back(file.path().stem().string());
    return names;
}

TokenFile read_nameless(const fs::path& file, const std::string& asked) {
    refuse_pickle(file);
    const SafetensorsFile stored(file);
    const TokenKeys keys = find_token_keys(stored, asked);
    TokenFile token;
    token.metadata = stored.metadata();
    token.format = keys.format;
    for (const auto& [named, info] : keys.vectors) {
        const at::Tensor vectors = read_vectors(stored, *info);
        const std::string encoder = named.empty() ? encoder_of_width(vectors.size(1)) : named;
        token.vectors[encoder] = vectors;
        token.stored[encoder] = info->dtype;
        token.keys[encoder] = info->name;
    }
    for (const TensorInfo& info : stored.tensors()) {
        const auto is_read = [&](const auto& key) { return key.second == &info; };
        if (std::none_of(keys.vectors.begin(), keys.vectors.end(), is_read)) {
            token.others.push_back(info.name);
        }
    }
    token.names = names_in(stored, keys);
    const auto word = std::find_if(token.names.begin(), token.names.end(), can_be_word);
    if (word != token.names.end()) token.word = *word;
    return token;
}

}  // namespace

const char* encoder_of_width(std::int64_t width) {
    return width == 1024 ? "clip_h" : width == 1280 ? "clip_g" : "clip_l";
}

void write_token(const fs::path& file, const TokenLayout& layout, const at::Tensor& theta,
                 const std::map<std::string, std::string>& metadata) {
    TensorFile contents;
    contents.metadata = metadata;
    for (const TokenSlot& slot : layout.slots()) {
        contents.tensors[slot.encoder] = layout.slice(theta.unsqueeze(0), slot)[0];
    }
    write_tensor_file(file, contents);
}

TokenFile read_nameless_token(const fs::path& file) {
    return read_nameless(file, {});
}

TokenFile read_token(const fs::path& file, const std::string& word) {
    TokenFile token = read_nameless(file, word);
    if (!word.empty()) {
        check_word(word);
        token.word = word;
    }
    require(!token.word.empty(), file.string(),
            ": nothing in it can be used as a word in prompts (found '", token.names.front(),
            "'). Give it a word, for example sks");
    return token;
}

std::vector<std::string> describe_others(const TokenFile& token) {
    std::vector<std::string> out;
    if (std::any_of(token.others.begin(), token.others.end(), is_lora_part)) {
        return {concat(token.others.size(), " tensors of a LoRA")};
    }
    for (const std::string& name : token.others) {
        out.push_back(is_output_vector(name) ? name + " (an output vector)" : name);
    }
    return out;
}

void warn_of_others(const TokenFile& token, const fs::path& file) {
    if (token.others.empty()) return;
    log_warning(file.string(), ": holds also ", listed(describe_others(token)), ", not used");
}

std::vector<at::Tensor> vectors_for(const TokenFile& token, const fs::path& file,
                                    const Architecture& architecture) {
    std::vector<std::string> needed, missing;
    std::vector<at::Tensor> all;
    for (const TextEncoderSpec& spec : architecture.encoders) {
        needed.push_back(concat(spec.key, " of ", spec.width, " numbers"));
        // A single tensor under a name of another kind tells its encoder by its width alone.
        const bool alone = token.vectors.size() == 1 && architecture.encoders.size() == 1;
        const bool fits = alone && token.vectors.begin()->second.size(1) == spec.width &&
                          token.keys.begin()->second != token.keys.begin()->first;
        const auto found = fits ? token.vectors.begin() : token.vectors.find(spec.key);
        if (found == token.vectors.end()) {
            missing.push_back(spec.key);
            continue;
        }
        require(found->second.size(1) == spec.width, file.string(), ": the word's vectors for ",
                spec.key, " have ", found->second.size(1), " numbers, this model's have ",
                spec.width, ". It was made for another model");
        require(all.empty() || all.front().size(0) == found->second.size(0), file.string(),
                ": has ", all.empty() ? 0 : all.front().size(0), " vectors for ",
                architecture.encoders.front().key, " and ", found->second.size(0), " for ",
                spec.key, ", expected as many of each");
        all.push_back(found->second);
    }
    std::string holds;
    for (const auto& [encoder, vectors] : token.vectors) {
        holds += concat(holds.empty() ? "" : ", ", encoder, " of ", vectors.size(1), " numbers");
    }
    require(all.empty() || missing.empty(), file.string(), ": is half a word, it holds ", holds,
            " and lacks ", listed(missing), "; ", architecture.family,
            " needs both. Train it with ", "both text encoders");
    require(missing.empty(), file.string(), ": the word's vectors are for ", holds,
            ", this model's are for ", listed(needed),
            ". It was made for another family of models");
    return all;
}

}  // namespace zoodip
