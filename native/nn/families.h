// The families of models, a file each: what their names and shapes do not say by themselves.
// A further one is a file and a row in families.cpp.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "nn/family.h"
#include "nn/manifest_survey.h"

namespace zoodip {

// What of a text encoder is the same in every model of a family.
struct EncoderKind {
    const char* key;  // "clip_l"
    // Where its tensors may lie, the first that is there: roots of either naming.
    std::vector<const char*> transformers_roots, openclip_roots;
    TextActivation activation;
    std::int64_t pad;
    std::int64_t layer;  // taken, from the end
    bool final_norm;
    bool pooled;                    // whether its pooled vector conditions the UNet
    std::int64_t published_width;   // of the published model,
    std::int64_t published_layers;  // which has so many layers
    bool may_lack_last = false;     // where folders leave out the last one, which nothing reads
};

// A prediction type with what gave it away.
struct ToldPrediction {
    Prediction prediction;
    const char* reason;
};

struct Family {
    const char* name;      // "Stable Diffusion 1.x"
    const char* unet_why;  // what in the UNet makes it this one, for messages
    std::vector<EncoderKind> encoders;
    HeadRule unet_heads;
    bool vector_conditioning;
    bool may_predict_either;  // files that do not say are of either kind
    double latent_scale;
    // Whether the weights are of this family; asked in the order of the table.
    bool (*recognises)(const WeightSource& weights);
    // Throws Error for weights that look like this family and are another; may be nullptr.
    void (*refuse)(const WeightSource& weights) = nullptr;
    // Where neither metadata nor keys say.
    ToldPrediction (*prediction)(const WeightSource& weights);
    const char* preset;  // the name of the values below
    // ZOODiP's values for training it, by setting, where they differ from the defaults.
    std::vector<std::pair<const char*, double>> values;
    std::int64_t (*resolution)(Prediction prediction);
};

const Family& stable_diffusion_1();
const Family& stable_diffusion_2();
const Family& stable_diffusion_xl();

// The family of weights with a UNet under model.diffusion_model.: the first that recognises them.
const Family& family_of(const WeightSource& weights);

const std::vector<const Family*>& all_families();

// That whose training values have this name ("sd15", "sd21", "sdxl"); Error for another.
const Family& family_with_preset(const std::string& preset);

// What the weights and their metadata say of one of a family's text encoders, the first or a
// further one. Throws Error where it is not there.
TextEncoderSpec text_encoder_spec(const WeightSource& weights, const Family& family,
                                  std::size_t index);

// Whether a tensor's name starts so.
bool has_name_that_starts(const WeightSource& weights, const std::string& start);

// The width of the text that the UNet attends to. Throws Error where it attends to none.
std::int64_t context_width(const WeightSource& weights);

}  // namespace zoodip
