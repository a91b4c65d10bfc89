#include "reports/token_convert.h"

#include <algorithm>

#include "core/error.h"
#include "core/log.h"
#include "io/outputs.h"
#include "train/run_outputs.h"
#include "words/token_keys.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;

bool is_sdxl(const TokenFile& token) {
    return token.vectors.size() == 2 && token.vectors.count("clip_l") == 1 &&
           token.vectors.count("clip_g") == 1;
}

std::string encoders_of(const TokenFile& token) {
    std::string names;
    for (const auto& [encoder, vectors] : token.vectors) {
        names += (names.empty() ? "" : " and ") + encoder;
    }
    return names;
}

// A single tensor does not say which encoder it is for, and a key must not say another thing.
void require_alone(const TokenFile& token, TokenFormat format) {
    require(token.vectors.size() == 1, "to: ", token_format_name(format),
            " has one tensor, or clip_l and clip_g; this token has ", encoders_of(token),
            ". Use `to comfyui`");
    const auto& [encoder, vectors] = *token.vectors.begin();
    require(encoder == encoder_of_width(vectors.size(1)), "to: ", token_format_name(format),
            " does not name the encoder, and vectors of ", vectors.size(1),
            " numbers would be taken for ", encoder_of_width(vectors.size(1)), ", not ", encoder,
            ". Use `to comfyui`");
    require(format != TokenFormat::diffusers || !is_format_key(token.word), "to: diffusers calls ",
            "the tensor '", token.word, "' as the word, which names an encoder or layout. Give ",
            "another `word`");
}

void require_one_count(const TokenFile& token) {
    const std::int64_t l = token.vectors.at("clip_l").size(0),
                       g = token.vectors.at("clip_g").size(0);
    require(l == g, "to: A1111 takes as many vectors for clip_l as for clip_g; this token has ", l,
            " and ", g, ". Use `to comfyui`");
}

void warn_if_rounded(const TokenFile& token, const fs::path& file) {
    for (const auto& [encoder, type] : token.stored) {
        if (type != Dtype::f64) continue;
        log_warning(file.string(), ": ", encoder, " is stored as F64 and was rounded to F32, as ",
                    "the programs that read it do");
    }
}

// Vectors for further text encoders are a part of the word; what a LoRA holds beside it, and what
// no program reads, is not.
void refuse_loss(const TokenFile& token, const fs::path& file) {
    if (std::any_of(token.others.begin(), token.others.end(), is_lora_part)) return;
    for (const std::string& other : token.others) {
        require(is_output_vector(other), file.string(), ": holds also ", other,
                ", which would be lost");
    }
}

}  // namespace

TensorFile arrange_token(const TokenFile& token, TokenFormat format) {
    TensorFile contents;
    contents.metadata = token.metadata;
    contents.metadata["word"] = token.word;
    contents.metadata.emplace("format", "pt");
    contents.tensors = token.vectors;
    if (format == TokenFormat::comfyui) return contents;
    if (is_sdxl(token)) {
        if (format == TokenFormat::a1111) require_one_count(token);
        return contents;
    }
    require_alone(token, format);
    const std::string key = format == TokenFormat::a1111 ? "emb_params" : token.word;
    contents.tensors = {{key, token.vectors.begin()->second}};
    return contents;
}

void convert_token(const TokenConversion& conversion) {
    const fs::path& out = conversion.out;
    require(out.extension() == ".safetensors", "out: '", out.string(),
            "' needs the ending .safetensors");
    const auto held =
        hold_output("zoodip token convert", {}, out, conversion.overwrite, token_of(out));
    const TokenFile token = read_token(conversion.in, conversion.word);
    refuse_loss(token, conversion.in);
    warn_of_others(token, conversion.in);
    const TensorFile contents = arrange_token(token, conversion.to);
    warn_if_rounded(token, conversion.in);
    write_tensor_file(out, contents);
}

}  // namespace zoodip
