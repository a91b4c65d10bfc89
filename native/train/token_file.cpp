#include "train/token_file.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <utility>

#include <ATen/ops/isfinite.h>

#include "core/error.h"
#include "nn/safetensors_source.h"
#include "nn/tensor_file.h"
#include "train/word.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;

constexpr std::array<const char*, 3> format_names = {"comfyui", "a1111", "diffusers"};
constexpr std::array<const char*, 3> encoders = {"clip_l", "clip_g", "clip_h"};
constexpr const char* only_tensor = "emb_params";

constexpr std::int64_t max_vectors = 75;   // what the text encoder reads at once
constexpr std::int64_t max_width = 65536;  // far above that of any text encoder

void refuse_pickle(const fs::path& file) {
    std::string ending = file.extension().string();
    for (char& c : ending) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    for (const char* pickle : {".pt", ".bin", ".ckpt", ".pth", ".pkl"}) {
        require(ending != pickle, file.string(), ": is a Python pickle (", pickle,
                "), which can run code when it is loaded. Use its .safetensors form; or, in "
                "ComfyUI, open it with Load Token (ZO), which takes plain tensors alone, and save "
                "it with Save Token (ZO)");
    }
}

bool any_name(const std::vector<TensorInfo>& tensors, std::initializer_list<const char*> signs) {
    return std::any_of(tensors.begin(), tensors.end(), [&](const TensorInfo& info) {
        return std::any_of(signs.begin(), signs.end(), [&](const char* sign) {
            return info.name.find(sign) != std::string::npos;
        });
    });
}

// What else than a token a file with these tensors is; nullptr when nothing tells. Words may look
// like parts of names, so that a single tensor has to say more.
const char* other_file(const SafetensorsFile& file) {
    const auto& tensors = file.tensors();
    if (any_name(tensors, {"lora_up.", "lora_down.", "lora.up.", "lora.down.", ".lora_A.",
                           ".lora_B.", "hada_w1", "lokr_w1"})) {
        return "a LoRA, not a token";
    }
    if (any_name(tensors, {"model.diffusion_model.", "cond_stage_model.", "first_stage_model."})) {
        return "a checkpoint, not a token";
    }
    if (tensors.size() < 2) return nullptr;
    if (any_name(tensors, {"text_model.", "down_blocks.", "decoder."})) {
        return "a part of a model, not a token";
    }
    if (file.find("theta") != nullptr && file.find("m") != nullptr && file.find("v") != nullptr) {
        return "the state of a stopped training, not its token";
    }
    return nullptr;
}

struct Found {
    TokenFormat format;
    std::vector<const TensorInfo*> tensors;
};

// By their names alone, so that nothing of a checkpoint's gigabytes is read.
Found find_vectors(const SafetensorsFile& file) {
    Found found{TokenFormat::comfyui, {}};
    for (const char* encoder : encoders) {
        if (const TensorInfo* info = file.find(encoder)) found.tensors.push_back(info);
    }
    if (!found.tensors.empty()) return found;
    if (const TensorInfo* info = file.find(only_tensor)) return {TokenFormat::a1111, {info}};
    const auto& tensors = file.tensors();
    const char* what = other_file(file);
    if (what == nullptr && tensors.size() == 1) return {TokenFormat::diffusers, {&tensors[0]}};
    const std::string has = tensors.empty() ? "no tensors"
                            : tensors.size() == 1
                                ? concat("one tensor, ", tensors[0].name)
                                : concat(tensors.size(), " tensors, the first ", tensors[0].name);
    fail(file.path().string(), ": is ", what == nullptr ? "no token file" : what,
         "; a token file holds clip_l or emb_params, and this one has ", has,
         ". Choose a file that a Textual Inversion made");
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

// <cat-toy> -> cat-toy: diffusers' example puts its words into brackets.
std::string without_brackets(const std::string& name) {
    const bool bracketed = name.size() > 2 && name.front() == '<' && name.back() == '>';
    return bracketed ? name.substr(1, name.size() - 2) : name;
}

std::vector<std::string> names_in(const SafetensorsFile& file, const Found& found) {
    std::vector<std::string> names;
    const auto word = file.metadata().find("word");
    if (word != file.metadata().end()) names.push_back(word->second);
    if (found.format == TokenFormat::diffusers) {
        names.push_back(without_brackets(found.tensors[0]->name));
    }
    names.push_back(file.path().stem().string());
    return names;
}

}  // namespace

const char* token_format_name(TokenFormat format) {
    return format_names[static_cast<std::size_t>(format)];
}

TokenFormat parse_token_format(const std::string& name) {
    const auto found = std::find(format_names.begin(), format_names.end(), name);
    require(found != format_names.end(), "to: needs one of comfyui, a1111, diffusers; got '", name,
            "'");
    return static_cast<TokenFormat>(found - format_names.begin());
}

const char* encoder_of_width(std::int64_t width) {
    return width == 1024 ? "clip_h" : width == 1280 ? "clip_g" : "clip_l";
}

bool is_format_key(const std::string& name) {
    return name == only_tensor ||
           std::find(encoders.begin(), encoders.end(), name) != encoders.end();
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
    refuse_pickle(file);
    const SafetensorsFile stored(file);
    const Found found = find_vectors(stored);
    TokenFile token;
    token.metadata = stored.metadata();
    token.format = found.format;
    for (const TensorInfo* info : found.tensors) {
        const at::Tensor vectors = read_vectors(stored, *info);
        const std::string encoder =
            found.format == TokenFormat::comfyui ? info->name : encoder_of_width(vectors.size(1));
        token.vectors[encoder] = vectors;
        token.stored[encoder] = info->dtype;
    }
    for (const TensorInfo& info : stored.tensors()) {
        const auto& read = found.tensors;
        if (std::find(read.begin(), read.end(), &info) == read.end()) {
            token.others.push_back(info.name);
        }
    }
    token.names = names_in(stored, found);
    const auto word = std::find_if(token.names.begin(), token.names.end(), can_be_word);
    if (word != token.names.end()) token.word = *word;
    return token;
}

TokenFile read_token(const fs::path& file, const std::string& word) {
    TokenFile token = read_nameless_token(file);
    if (!word.empty()) {
        check_word(word);
        token.word = word;
    }
    require(!token.word.empty(), file.string(),
            ": nothing in it can be used as a word in prompts (found '", token.names.front(),
            "'). Give it a word, for example sks");
    return token;
}

const at::Tensor& clip_l_vectors(const TokenFile& token, const fs::path& file, std::int64_t width) {
    const auto found = token.vectors.find("clip_l");
    if (found == token.vectors.end()) {
        const auto& [encoder, vectors] = *token.vectors.begin();
        fail(file.string(), ": the word's vectors are for ", encoder, " and have ", vectors.size(1),
             " numbers, this model's are for clip_l and have ", width,
             ". It was made for another family of models");
    }
    require(found->second.size(1) == width, file.string(), ": the word's vectors have ",
            found->second.size(1), " numbers, this model's have ", width,
            ". It was made for another model");
    return found->second;
}

}  // namespace zoodip
