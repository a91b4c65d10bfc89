#include "nn/manifest.h"

#include <algorithm>
#include <array>
#include <set>
#include <string_view>

#include "core/error.h"
#include "core/log.h"
#include "nn/manifest_survey.h"

namespace zoodip {
namespace {

constexpr std::size_t shown = 5;

// "a, b and 3 more".
std::string list_some(const std::vector<std::string>& all) {
    std::string text;
    for (std::size_t i = 0; i < std::min(shown, all.size()); ++i) {
        text += concat(i == 0 ? "" : ", ", all[i]);
    }
    return all.size() > shown ? concat(text, " and ", all.size() - shown, " more") : text;
}

std::string quoted(const std::string& name) {
    return concat("'", name, "'");
}

std::string format_expected(const std::vector<std::int64_t>& shape) {
    std::string text;
    for (const std::int64_t size : shape) {
        text += concat(text.empty() ? "[" : ", ", size < 0 ? "any" : std::to_string(size));
    }
    return text + "]";
}

bool fits(std::vector<std::int64_t> shape, const std::vector<std::int64_t>& expected) {
    if (expected.size() == 2 && shape.size() == 4 && shape[2] == 1 && shape[3] == 1) {
        shape.resize(2);
    }
    return std::equal(shape.begin(), shape.end(), expected.begin(), expected.end(),
                      [](std::int64_t a, std::int64_t b) { return b < 0 || a == b; });
}

void append(Manifest& all, const Manifest& part) {
    all.insert(all.end(), part.begin(), part.end());
}

Manifest whole_manifest(const WeightSource& weights, const Architecture& architecture) {
    Manifest all = unet_manifest(weights, architecture);
    append(all, text_encoder_manifest(weights, architecture));
    append(all, latent_encoder_manifest(weights, architecture));
    append(all, latent_decoder_manifest(weights, architecture));
    return all;
}

void require_halves(const WeightSource& weights, const Architecture& architecture, Halves needed) {
    const char* remedy =
        ". It was taken out of the file: give the checkpoint with its whole autoencoder";
    require(!needed.encoder || !latent_encoder_manifest(weights, architecture).empty(),
            weights.description(), ": its autoencoder has no encoder, which training needs",
            remedy);
    require(!needed.decoder || !latent_decoder_manifest(weights, architecture).empty(),
            weights.description(), ": its autoencoder has no decoder, which pictures need", remedy);
}

constexpr std::array<std::string_view, 4> prefixes = {"model.diffusion_model.", "cond_stage_model.",
                                                      "conditioner.", "first_stage_model."};
constexpr std::array<std::string_view, 10> harmless = {
    "position_ids", "text_projection", "logit_scale", "vision_model.", "visual_projection",
    "model_ema.",   "vae_scale",       "vae_shift",   ".weight_scale", ".comfy_quant"};

bool may_lie_there(std::string_view name) {
    if (name.starts_with("first_stage_model.loss.")) return true;
    return std::any_of(harmless.begin(), harmless.end(), [&](std::string_view part) {
        return name.find(part) != std::string_view::npos;
    });
}

}  // namespace

void require_whole(const WeightSource& weights, const Architecture& architecture, Halves needed) {
    require_halves(weights, architecture, needed);
    std::vector<std::string> missing, misshapen;
    for (const auto& [name, shape] : whole_manifest(weights, architecture)) {
        const WeightInfo* info = weights.find(name);
        if (info == nullptr) {
            missing.push_back(quoted(name));
        } else if (!fits(info->shape, shape)) {
            misshapen.push_back(concat(quoted(name), " has shape ", at::IntArrayRef(info->shape),
                                       ", expected ", format_expected(shape)));
        }
    }
    require(missing.empty(), weights.description(), ": is not whole, ", missing.size(),
            missing.size() == 1 ? " tensor is missing: " : " tensors are missing: ",
            list_some(missing), ". The model is damaged or was cut: get it anew");
    require(misshapen.empty(), weights.description(), ": ", misshapen.size(),
            misshapen.size() == 1 ? " tensor does" : " tensors do",
            " not fit the rest of the model: ", list_some(misshapen),
            ". The model is damaged or merged from different ones: get it anew");
}

std::vector<std::string> unread_tensors(const WeightSource& weights,
                                        const Architecture& architecture) {
    std::set<std::string_view> read;
    const Manifest manifest = whole_manifest(weights, architecture);
    for (const ExpectedTensor& expected : manifest) read.insert(expected.name);
    std::vector<std::string> unread;
    for (const WeightInfo& info : weights.list()) {
        const bool own = std::any_of(prefixes.begin(), prefixes.end(), [&](std::string_view start) {
            return info.name.starts_with(start);
        });
        if (own && !may_lie_there(info.name) && !read.contains(info.name)) {
            unread.push_back(info.name);
        }
    }
    return unread;
}

void warn_of_unread(const WeightSource& weights, const Architecture& architecture) {
    std::vector<std::string> unread = unread_tensors(weights, architecture);
    if (unread.empty()) return;
    std::transform(unread.begin(), unread.end(), unread.begin(), quoted);
    log_warning(weights.description(), ": ", unread.size(),
                unread.size() == 1 ? " tensor of the model is" : " tensors of the model are",
                " read by nothing: ", list_some(unread),
                ". If they change what the model computes, the word will not fit it");
}

}  // namespace zoodip
