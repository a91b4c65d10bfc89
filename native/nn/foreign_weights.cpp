#include "nn/foreign_weights.h"

#include <algorithm>
#include <array>
#include <span>
#include <string_view>

#include "core/error.h"
#include "nn/tensorwise.h"

namespace zoodip {
namespace {

enum class Where { start, anywhere, whole };

// A name that gives another kind of file away.
struct Sign {
    Where where;
    std::string_view text;
    std::string_view what;
};

constexpr std::string_view lora = "a LoRA, which changes a checkpoint but is none.";
constexpr std::string_view gligen = "a GLIGEN model, whose extra attention is not supported.";

// Most telling first.
constexpr std::array<Sign, 20> kinds = {
    {{Where::start, "lora_unet_", lora},
     {Where::start, "lora_te", lora},
     {Where::anywhere, ".lora_A.", lora},
     {Where::anywhere, ".lora_B.", lora},
     {Where::anywhere, "lora_down.", lora},
     {Where::anywhere, "lora_up.", lora},
     {Where::anywhere, "lora.down.", lora},
     {Where::anywhere, "lora.up.", lora},
     {Where::anywhere, "hada_w1_a", "a LoRA (LoHa), which changes a checkpoint but is none."},
     {Where::anywhere, "lokr_w1", "a LoRA (LoKr), which changes a checkpoint but is none."},
     {Where::start, "control_model.", "a ControlNet."},
     {Where::start, "controlnet_cond_embedding.", "a ControlNet."},
     {Where::anywhere, "joint_blocks.", "Stable Diffusion 3."},
     {Where::anywhere, "double_blocks.", "Flux."},
     {Where::start, "edm_vpred.", "a model of continuous noise (EDM), as CosXL."},
     {Where::whole, "edm_mean", "a model of continuous noise (EDM), as Playground 2.5."},
     {Where::whole, "edm_std", "a model of continuous noise (EDM), as Playground 2.5."},
     {Where::anywhere, ".fuser.", gligen},
     {Where::anywhere, "position_net.", gligen},
     {Where::anywhere, ".cond_proj.",
      "a latent consistency model, whose UNet takes the guidance scale as an input."}}};

constexpr std::array<Sign, 5> quantised = {
    {{Where::anywhere, ".absmax", "weights quantised by bitsandbytes"},
     {Where::anywhere, "scaled_fp8", "weights in scaled fp8"},
     {Where::anywhere, ".scale_weight", "weights in scaled fp8"},
     {Where::anywhere, ".qweight", "weights quantised by GPTQ or AWQ"},
     {Where::anywhere, ".weight._data", "weights quantised by quanto"}}};

constexpr std::string_view text_encoder = "a text encoder alone.";
constexpr std::string_view autoencoder = "an autoencoder (VAE) alone.";

constexpr std::array<Sign, 11> alone = {
    {{Where::whole, "emb_params", "a learned word (an embedding)."},
     {Where::start, "string_to_param", "a learned word (an embedding)."},
     {Where::whole, "clip_l", "a learned word (an embedding)."},
     {Where::start, "text_model.", text_encoder},
     {Where::start, "embeddings.token_embedding.", text_encoder},
     {Where::start, "encoder.block.", "a T5 text encoder alone."},
     {Where::start, "taesd_", "a TAESD autoencoder alone."},
     {Where::start, "encoder.", autoencoder},
     {Where::start, "decoder.", autoencoder},
     {Where::start, "input_blocks.", "a UNet alone."},
     {Where::start, "down_blocks.", "a UNet alone, as diffusers saves it."}}};

bool shows(const WeightSource& weights, const Sign& sign) {
    const auto matches = [&](const WeightInfo& info) {
        const std::string_view name = info.name;
        if (sign.where == Where::start) return name.starts_with(sign.text);
        if (sign.where == Where::whole) return name == sign.text;
        return name.find(sign.text) != std::string_view::npos;
    };
    return std::any_of(weights.list().begin(), weights.list().end(), matches);
}

const Sign* find_sign(const WeightSource& weights, std::span<const Sign> signs) {
    const auto found = std::find_if(signs.begin(), signs.end(),
                                    [&](const Sign& sign) { return shows(weights, sign); });
    return found == signs.end() ? nullptr : &*found;
}

// One tensor as wide as a text encoder of a published model, under a name of the user's own: what
// diffusers saves for a learned word.
bool is_learned_word(const WeightSource& weights) {
    if (weights.list().size() != 1) return false;
    const auto& shape = weights.list().front().shape;
    if (shape.empty() || shape.size() > 2) return false;
    return shape.back() == 768 || shape.back() == 1024 || shape.back() == 1280;
}

}  // namespace

void refuse_foreign_weights(const WeightSource& weights) {
    const std::string& name = weights.description();
    if (const Sign* sign = find_sign(weights, kinds)) {
        fail(name, ": is ", sign->what, family_remedy);
    }
    if (const Sign* sign = find_sign(weights, quantised)) {
        fail(name, ": holds ", sign->what,
             ". Give a checkpoint in fp16, bf16 or fp32: zoodip quantises it "
             "itself");
    }
    refuse_other_formats(weights);
    const Sign unet{Where::start, "model.diffusion_model.", ""};
    if (shows(weights, unet)) return;
    if (const Sign* sign = find_sign(weights, alone)) {
        fail(name, ": is ", sign->what, family_remedy);
    }
    require(!is_learned_word(weights), name, ": is a learned word (an embedding).", family_remedy);
}

}  // namespace zoodip
