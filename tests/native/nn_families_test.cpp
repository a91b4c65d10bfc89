// The families told apart by crafted sets of names, and what is refused by name.
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "nn/family.h"
#include "nn/tensor_map.h"

namespace zoodip {
namespace {

using Tensors = std::map<std::string, at::Tensor>;
using Metadata = std::map<std::string, std::string>;

const std::string unet = "model.diffusion_model.";
const std::string attention = unet + "input_blocks.1.1.transformer_blocks.0.attn2.";
const std::string vae = "first_stage_model.";
const std::string sd2 = "cond_stage_model.model.";
const std::string narrow = "conditioner.embedders.0.transformer.text_model.";
const std::string wide = "conditioner.embedders.1.model.";

// The fewest names that make a UNet that attends to so wide a text, and an autoencoder.
Tensors without_text(std::int64_t context) {
    return {{unet + "input_blocks.0.0.weight", at::zeros({64, 4, 3, 3})},
            {attention + "to_q.weight", at::zeros({64, 64})},
            {attention + "to_k.weight", at::zeros({64, context})},
            {vae + "encoder.conv_in.weight", at::zeros({32, 3, 3, 3})}};
}

Tensors second() {
    Tensors tensors = without_text(1024);
    tensors[sd2 + "token_embedding.weight"] = at::zeros({10, 1024});
    for (const int layer : {0, 23}) {
        tensors[concat(sd2, "transformer.resblocks.", layer, ".ln_1.weight")] = at::zeros({1024});
    }
    return tensors;
}

Tensors xl() {
    Tensors tensors = without_text(2048);
    tensors[unet + "label_emb.0.0.weight"] = at::zeros({256, 2816});
    tensors[narrow + "embeddings.token_embedding.weight"] = at::zeros({10, 768});
    tensors[wide + "token_embedding.weight"] = at::zeros({10, 1280});
    tensors[wide + "text_projection"] = at::zeros({1280, 1280});
    return tensors;
}

Architecture detect(Tensors tensors, Metadata metadata = {}) {
    return detect_architecture(TensorMap(std::move(tensors), "m", std::move(metadata)));
}

void expect_refused(Tensors tensors, const std::string& part, Metadata metadata = {}) {
    try {
        detect(std::move(tensors), std::move(metadata));
        FAIL() << "was taken, expected '" << part << "'";
    } catch (const Error& error) {
        EXPECT_NE(std::string(error.what()).find(part), std::string::npos)
            << "expected '" << part << "' in '" << error.what() << "'";
    }
}

TEST(Families, TheSecondInTheNamesOfOpenClip) {
    const Architecture found = detect(second());
    EXPECT_EQ(found.family, "Stable Diffusion 2.x");
    EXPECT_EQ(found.preset, "sd21");
    ASSERT_EQ(found.encoders.size(), 1u);
    const TextEncoderSpec& spec = found.encoders[0];
    EXPECT_EQ(spec.key, "clip_h");
    EXPECT_EQ(spec.heads, 16);
    EXPECT_EQ(spec.pad, 0);
    EXPECT_EQ(spec.layer, 2);
    EXPECT_TRUE(spec.final_norm);
    EXPECT_EQ(spec.activation, TextActivation::gelu);
    EXPECT_EQ(found.unet_heads.of(640), 10);
    EXPECT_EQ(found.latent_scale, 0.18215);
    EXPECT_EQ(found.resolution, 512);
    EXPECT_EQ(found.size_width, 0);
}

TEST(Families, TheSecondUnderTheNewerPrefix) {
    Tensors tensors;
    for (auto& [name, tensor] : second()) {
        tensors[name.starts_with(sd2) ? "conditioner.embedders.0.model." + name.substr(sd2.size())
                                      : name] = tensor;
    }
    EXPECT_EQ(detect(tensors).family, "Stable Diffusion 2.x");
}

TEST(Families, ATextEncoderThatWasCutGivesItsLastLayer) {
    const std::string root = "cond_stage_model.transformer.text_model.";
    for (const auto& [layers, taken] : {std::pair(23, 1), std::pair(24, 2)}) {
        Tensors tensors = without_text(1024);
        tensors[root + "embeddings.token_embedding.weight"] = at::zeros({10, 1024});
        tensors[concat(root, "encoder.layers.", layers - 1, ".layer_norm1.weight")] =
            at::zeros({1024});
        const Architecture found = detect(tensors);
        EXPECT_EQ(found.family, "Stable Diffusion 2.x");
        EXPECT_EQ(found.encoders[0].layer, taken) << layers << " layers";
    }
}

TEST(Families, TheSecondPredictsVWhereABiasIsSpread) {
    const std::string bias = unet + "output_blocks.11.1.transformer_blocks.0.norm1.bias";
    Tensors tensors = second();
    tensors[bias] = at::tensor({-0.2f, 0.2f});
    EXPECT_EQ(detect(tensors).prediction, Prediction::v);
    EXPECT_EQ(detect(tensors).resolution, 768);
    EXPECT_NE(detect(tensors).prediction_reason.find("spread"), std::string::npos);
    tensors[bias] = at::tensor({-0.05f, 0.05f});
    EXPECT_EQ(detect(tensors).prediction, Prediction::epsilon);
    EXPECT_EQ(detect(tensors, {{"modelspec.prediction_type", "v"}}).prediction, Prediction::v);
}

TEST(Families, XlWithBothItsTextEncoders) {
    const Architecture found = detect(xl());
    EXPECT_EQ(found.family, "Stable Diffusion XL");
    EXPECT_EQ(found.preset, "sdxl");
    ASSERT_EQ(found.encoders.size(), 2u);
    EXPECT_EQ(found.encoders[0].key, "clip_l");
    EXPECT_EQ(found.encoders[0].activation, TextActivation::quick_gelu);
    EXPECT_EQ(found.encoders[0].pad, 49407);
    EXPECT_TRUE(found.encoders[0].projection.empty());
    EXPECT_EQ(found.encoders[1].key, "clip_g");
    EXPECT_EQ(found.encoders[1].heads, 20);
    EXPECT_EQ(found.encoders[1].pad, 0);
    EXPECT_EQ(found.encoders[1].projection, wide + "text_projection");
    for (const TextEncoderSpec& spec : found.encoders) {
        EXPECT_EQ(spec.layer, 2);
        EXPECT_FALSE(spec.final_norm);
    }
    EXPECT_EQ(found.text_width(), 2048);
    EXPECT_EQ(found.size_width, 256);
    EXPECT_EQ(found.latent_scale, 0.13025);
    EXPECT_EQ(found.resolution, 1024);
    EXPECT_EQ(found.prediction, Prediction::epsilon);
}

TEST(Families, KeysOfXlThatPredictV) {
    Tensors tensors = xl();
    tensors["v_pred"] = at::zeros({0});
    EXPECT_EQ(detect(tensors).prediction, Prediction::v);
    EXPECT_FALSE(detect(tensors).betas.zero_snr);
    EXPECT_NE(detect(tensors).prediction_reason.find("v_pred"), std::string::npos);
    tensors["ztsnr"] = at::zeros({0});
    EXPECT_TRUE(detect(tensors).betas.zero_snr);
}

TEST(Families, LookAlikesAreNamed) {
    Tensors refiner = without_text(1280);
    refiner[unet + "label_emb.0.0.weight"] = at::zeros({256, 2560});
    refiner["conditioner.embedders.0.model.token_embedding.weight"] = at::zeros({10, 1280});
    expect_refused(refiner, "is the refiner of Stable Diffusion XL");
    Tensors unclip = second();
    unclip[unet + "label_emb.0.0.weight"] = at::zeros({256, 2048});
    expect_refused(unclip, "unCLIP");
    for (const auto& [channels, what] : std::map<int, std::string>{{5, "depth"},
                                                                   {7, "an upscaler"},
                                                                   {8, "InstructPix2Pix"},
                                                                   {9, "an inpainting model"}}) {
        Tensors other = second();
        other[unet + "input_blocks.0.0.weight"] = at::zeros({64, channels, 3, 3});
        expect_refused(other, what);
    }
    for (const char* key : {"edm_mean", "edm_vpred.sigma_max"}) {
        Tensors other = xl();
        other[key] = at::zeros({1});
        expect_refused(other, "continuous noise (EDM)");
    }
}

TEST(Families, PartsOfXlThatAreMissingOrAnother) {
    Tensors one = xl();
    one.erase(narrow + "embeddings.token_embedding.weight");
    expect_refused(one, "has no text encoder clip_l (conditioner.embedders.0.");
    one = xl();
    one.erase(wide + "token_embedding.weight");
    one.erase(wide + "text_projection");
    expect_refused(one, "has no text encoder clip_g");
    Tensors unprojected = xl();
    unprojected.erase(wide + "text_projection");
    expect_refused(unprojected, "'conditioner.embedders.1.model.text_projection' is missing");
    Tensors other = xl();
    other[unet + "label_emb.0.0.weight"] = at::zeros({256, 2560 + 1});
    expect_refused(other, "label_emb takes 2561 numbers");
    Tensors mixed = xl();
    mixed[attention + "to_k.weight"] = at::zeros({64, 768});
    expect_refused(mixed,
                   "the text encoders are 768 and 1280 wide, the UNet attends to 768, as "
                   "that of Stable Diffusion 1.x does");
}

TEST(Families, ADistilledModelIsToldByItsName) {
    const auto sign = [](const std::string& name) {
        return sign_of_distillation(TensorMap({}, name));
    };
    for (const auto& [name, expected] : std::map<std::string, std::string>{
             {"/a/lightning/sdxl_base.safetensors", ""},
             {"hyperrealism_v3.safetensors", ""},
             {"turbografx.safetensors", ""},
             {"juggernautXL_v9Rdphoto2Lightning.safetensors", "lightning"},
             {"dreamshaperXL_v21TurboDPMSDE.safetensors", "turbo"},
             {"sd_xl_turbo_1.0_fp16.safetensors", "turbo"},
             {"C:\\models\\Hyper-SDXL-8steps.safetensors", "hyper"},
             {"sdxl-lcm.safetensors", "lcm"}}) {
        EXPECT_EQ(sign(name), expected) << name;
    }
    EXPECT_EQ(sign_of_distillation(TensorMap({}, "x", {{"modelspec.title", "An XL Turbo merge"}})),
              "turbo");
}

TEST(Families, WhatConfigurationsSayGoesFirst) {
    const Architecture found = detect(xl(), {{metadata_key::unet_heads, "4"},
                                             {"zoodip.text_heads_2", "10"},
                                             {"zoodip.text_layer_2", "3"}});
    EXPECT_EQ(found.unet_heads.of(640), 4);
    EXPECT_EQ(found.encoders[0].heads, 12);
    EXPECT_EQ(found.encoders[1].heads, 10);
    EXPECT_EQ(found.encoders[1].layer, 3);
    expect_refused(xl(), "quick_gelu", {{metadata_key::text_activation, "gelu"}});
    expect_refused(xl(), "do not divide", {{"zoodip.text_heads_2", "3"}});
}

}  // namespace
}  // namespace zoodip
