// Names of other layouts, what a set of weights is told to be, and how its parameters are counted.
#include <cstring>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ops/arange.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "expect_in.h"

#include "core/error.h"
#include "nn/diffusers_names.h"
#include "nn/family.h"
#include "nn/inventory.h"
#include "nn/tensor_map.h"
#include "nn/token_table.h"

namespace zoodip {
namespace {

using Tensors = std::map<std::string, at::Tensor>;
using Metadata = std::map<std::string, std::string>;

const std::string unet = "model.diffusion_model.";
const std::string text = "cond_stage_model.transformer.text_model.";
const std::string vae = "first_stage_model.";
const std::string attention = unet + "input_blocks.1.1.transformer_blocks.0.attn2.";

// The fewest names that make a checkpoint: width 128, so two heads of 64 in the text encoder.
Tensors smallest() {
    return {{unet + "input_blocks.0.0.weight", at::zeros({32, 4, 3, 3})},
            {attention + "to_q.weight", at::zeros({32, 32})},
            {attention + "to_k.weight", at::zeros({32, 128})},
            {text + "embeddings.token_embedding.weight", at::zeros({10, 128})},
            {vae + "encoder.conv_in.weight", at::zeros({32, 3, 3, 3})}};
}

Tensors with(const std::string& name, const at::Tensor& tensor) {
    Tensors tensors = smallest();
    tensors[name] = tensor;
    return tensors;
}

Architecture detect(Tensors tensors, Metadata metadata = {}) {
    return detect_architecture(TensorMap(std::move(tensors), "m", std::move(metadata)));
}

// The message of the refusal; empty when there is none.
std::string refusal(Tensors tensors, Metadata metadata = {}) {
    try {
        detect(std::move(tensors), std::move(metadata));
    } catch (const Error& error) {
        return error.what();
    }
    return "";
}

// ------------------------------------------------------------------------------------- sources

TEST(TokenTable, ReadsEveryRowOnceOrHoldsThemAll) {
    const at::Tensor numbers = at::arange(30, at::kHalf).view({10, 3});
    std::vector<std::int64_t> read;
    const auto* bytes = static_cast<const std::byte*>(numbers.const_data_ptr());
    const TokenTable left(numbers, [&](std::size_t from, std::span<std::byte> out) {
        read.push_back(static_cast<std::int64_t>(from / 6));
        std::memcpy(out.data(), bytes + from, out.size());
    });
    const TokenTable held(numbers);
    const at::Tensor ids = at::tensor({7, 2, 7, 2, 0, 7}, at::kLong).view({2, 3});
    for (const TokenTable* table : {&left, &held}) {
        EXPECT_EQ(table->vocabulary(), 10);
        EXPECT_EQ(table->width(), 3);
        EXPECT_TRUE(at::equal(table->rows(ids), at::embedding(numbers, ids).to(at::kFloat)));
        EXPECT_THROW(table->rows(at::tensor({10}, at::kLong)), Error);
        EXPECT_THROW(table->rows(at::tensor({-1}, at::kLong)), Error);
    }
    EXPECT_EQ(read, (std::vector<std::int64_t>{7, 2, 0}));
    EXPECT_TRUE(at::equal(left.whole(), numbers));
    EXPECT_TRUE(at::equal(held.whole(), numbers));
}

TEST(WeightSource, FindsEveryNameAndNoOther) {
    const TensorMap source({{"b", at::zeros({2})}, {"d", at::zeros({3, 1}, at::kHalf)}}, "two");
    ASSERT_NE(source.find("b"), nullptr);
    ASSERT_NE(source.find("d"), nullptr);
    EXPECT_EQ(source.find("d")->shape, (std::vector<std::int64_t>{3, 1}));
    EXPECT_EQ(source.find("d")->dtype, at::kHalf);
    for (const char* name : {"", "a", "c", "e", "bb"}) EXPECT_FALSE(source.has(name)) << name;
    EXPECT_THROW(source.get("c"), Error);
}

// --------------------------------------------------------------------------------------- names

TEST(DiffusersNames, UNetBlocksAreCountedInOneRow) {
    // Stable Diffusion 1.5: 12 input blocks, 12 output blocks; up block 0 has no attention.
    const UNetBlocks blocks{2, {1, 2, 3}};
    const std::vector<std::pair<std::string, std::string>> names = {
        {"conv_in.weight", "input_blocks.0.0.weight"},
        {"time_embedding.linear_2.bias", "time_embed.2.bias"},
        {"down_blocks.0.resnets.1.conv1.weight", "input_blocks.2.0.in_layers.2.weight"},
        {"down_blocks.0.downsamplers.0.conv.bias", "input_blocks.3.0.op.bias"},
        {"down_blocks.1.attentions.0.proj_in.weight", "input_blocks.4.1.proj_in.weight"},
        {"down_blocks.3.resnets.1.time_emb_proj.bias", "input_blocks.11.0.emb_layers.1.bias"},
        {"mid_block.resnets.1.norm2.weight", "middle_block.2.out_layers.0.weight"},
        {"mid_block.attentions.0.norm.bias", "middle_block.1.norm.bias"},
        {"up_blocks.0.upsamplers.0.conv.weight", "output_blocks.2.1.conv.weight"},
        {"up_blocks.1.upsamplers.0.conv.weight", "output_blocks.5.2.conv.weight"},
        {"up_blocks.3.resnets.2.conv_shortcut.weight", "output_blocks.11.0.skip_connection.weight"},
        {"up_blocks.3.attentions.2.proj_out.bias", "output_blocks.11.1.proj_out.bias"},
        {"conv_norm_out.weight", "out.0.weight"},
        {"conv_out.bias", "out.2.bias"}};
    for (const auto& [name, original] : names) {
        EXPECT_EQ(original_unet_name(name, blocks), unet + original) << name;
    }
}

TEST(DiffusersNames, UNetOfAnotherDepth) {
    const UNetBlocks blocks{1, {0}};
    EXPECT_EQ(original_unet_name("down_blocks.2.resnets.0.norm1.bias", blocks),
              unet + "input_blocks.5.0.in_layers.0.bias");
    EXPECT_EQ(original_unet_name("up_blocks.1.upsamplers.0.conv.bias", blocks),
              unet + "output_blocks.3.1.conv.bias");
}

TEST(DiffusersNames, AStrangerHasNoName) {
    const UNetBlocks blocks;
    for (const char* name : {"add_hidden.linear_1.weight", "down_blocks.0.resnets.0.other.bias",
                             "down_blocks.100.resnets.0.conv1.bias", "down_blocks..conv1", ""}) {
        EXPECT_EQ(original_unet_name(name, blocks), std::nullopt) << name;
    }
    EXPECT_EQ(original_taesd_name("encoder.other.weight"), std::nullopt);
    const std::string long_name(1 << 20, 'a');  // a regular expression would overflow the stack
    EXPECT_EQ(original_unet_name("down_blocks.0.resnets.0." + long_name, blocks), std::nullopt);
    EXPECT_EQ(original_taesd_name("encoder.layers.0." + long_name), std::nullopt);
    EXPECT_EQ(original_vae_name("encoder." + long_name, 4),
              "first_stage_model.encoder." + long_name);
}

TEST(DiffusersNames, TheOriginalDecoderCountsLevelsFromTheFinest) {
    EXPECT_EQ(original_vae_name("encoder.down_blocks.0.downsamplers.0.conv.weight", 4),
              vae + "encoder.down.0.downsample.conv.weight");
    EXPECT_EQ(original_vae_name("decoder.up_blocks.0.upsamplers.0.conv.bias", 4),
              vae + "decoder.up.3.upsample.conv.bias");
    EXPECT_EQ(original_vae_name("decoder.up_blocks.3.resnets.2.conv_shortcut.weight", 4),
              vae + "decoder.up.0.block.2.nin_shortcut.weight");
    EXPECT_EQ(original_vae_name("decoder.mid_block.resnets.1.norm1.bias", 4),
              vae + "decoder.mid.block_2.norm1.bias");
    EXPECT_EQ(original_vae_name("encoder.conv_norm_out.bias", 4), vae + "encoder.norm_out.bias");
    EXPECT_EQ(original_vae_name("quant_conv.weight", 4), vae + "quant_conv.weight");
}

TEST(DiffusersNames, BothSpellingsOfTheAutoencodersAttention) {
    const std::vector<std::vector<std::string>> names = {{"group_norm", "group_norm", "norm"},
                                                         {"to_q", "query", "q"},
                                                         {"to_k", "key", "k"},
                                                         {"to_v", "value", "v"},
                                                         {"to_out.0", "proj_attn", "proj_out"}};
    for (const auto& row : names) {
        const std::string original = vae + "encoder.mid.attn_1." + row[2] + ".weight";
        for (const std::string& name : {row[0], row[1]}) {
            const std::string full = "encoder.mid_block.attentions.0." + name + ".weight";
            EXPECT_EQ(original_vae_name(full, 4), original) << name;
        }
    }
}

TEST(DiffusersNames, TheOriginalTinyDecoderStartsWithAClamp) {
    EXPECT_EQ(original_taesd_name("encoder.layers.14.bias"), vae + "taesd_encoder.14.bias");
    EXPECT_EQ(original_taesd_name("decoder.layers.0.weight"), vae + "taesd_decoder.1.weight");
    EXPECT_EQ(original_taesd_name("decoder.layers.2.conv.4.weight"),
              vae + "taesd_decoder.3.conv.4.weight");
}

TEST(DiffusersNames, TextEncoderWithAndWithoutItsPrefix) {
    const std::string root = "cond_stage_model.transformer.";
    EXPECT_EQ(original_text_encoder_name("text_model.final_layer_norm.bias", root),
              text + "final_layer_norm.bias");
    EXPECT_EQ(original_text_encoder_name("final_layer_norm.bias", root),
              text + "final_layer_norm.bias");
    EXPECT_EQ(original_text_encoder_name("text_projection.weight", "conditioner.embedders.1."),
              "conditioner.embedders.1.text_projection.weight");
}

// ----------------------------------------------------------------------------------- detection

TEST(DetectArchitecture, TakesWhatShapesSayAndDefaultsElsewhere) {
    const Architecture found = detect(smallest());
    EXPECT_EQ(found.family, "Stable Diffusion 1.x");
    ASSERT_EQ(found.encoders.size(), 1u);
    EXPECT_EQ(found.encoders[0].key, "clip_l");
    EXPECT_EQ(found.encoders[0].heads, 2);
    EXPECT_EQ(found.text_width(), 128);
    EXPECT_EQ(found.unet_heads.of(320), 8);
    EXPECT_EQ(found.prediction, Prediction::epsilon);
    EXPECT_EQ(found.vae, VaeKind::kl);
    EXPECT_EQ(found.latent_scale, 0.18215);
    EXPECT_EQ(found.latent_shift, 0);
}

TEST(DetectArchitecture, MetadataGoesFirst) {
    const Architecture found = detect(smallest(), {{metadata_key::unet_heads, "4"},
                                                   {metadata_key::text_heads, "16"},
                                                   {metadata_key::prediction, "v_prediction"},
                                                   {metadata_key::latent_scale, "0.5"},
                                                   {metadata_key::latent_shift, "-0.25"}});
    EXPECT_EQ(found.unet_heads.of(320), 4);
    EXPECT_EQ(found.encoders[0].heads, 16);
    EXPECT_EQ(found.prediction, Prediction::v);
    EXPECT_EQ(found.latent_scale, 0.5);
    EXPECT_EQ(found.latent_shift, -0.25);
}

TEST(DetectArchitecture, MetadataThatMakesNoSenseIsRefused) {
    for (const char* value : {"8abc", "", "8.5", "0", "-1", "1025", "[5,10]", "null"}) {
        expect_in("number of heads", refusal(smallest(), {{metadata_key::unet_heads, value}}));
        expect_in("number of heads", refusal(smallest(), {{metadata_key::text_heads, value}}));
    }
    for (const char* value : {"x", "", "0.5x", "nan", "[1]"}) {
        expect_in("expected a number", refusal(smallest(), {{metadata_key::latent_scale, value}}));
        expect_in("expected a number", refusal(smallest(), {{metadata_key::latent_shift, value}}));
    }
    expect_in("positive", refusal(smallest(), {{metadata_key::latent_scale, "0"}}));
    expect_in("do not divide the 32 channels",
              refusal(smallest(), {{metadata_key::unet_heads, "5"}}));
    expect_in("do not divide the text encoder's width 128",
              refusal(smallest(), {{metadata_key::text_heads, "3"}}));
    expect_in("quick_gelu", refusal(smallest(), {{metadata_key::text_activation, "relu"}}));
}

TEST(DetectArchitecture, TheScalarsOfATaesd) {
    Tensors tensors = with(vae + "taesd_encoder.0.weight", at::zeros({32, 3, 3, 3}));
    EXPECT_EQ(detect(tensors).vae, VaeKind::taesd);
    EXPECT_DOUBLE_EQ(detect(tensors).latent_scale, 0.18215);
    EXPECT_EQ(detect(tensors).latent_shift, 0);
    tensors[vae + "vae_scale"] = at::full({}, 0.25);  // exact in float32
    tensors[vae + "vae_shift"] = at::full({1}, 0.5);
    const Architecture found = detect(tensors);
    // For any taesd(x): scale (taesd(x) - shift) = 0.18215 (taesd(x) / vae_scale + vae_shift).
    for (const double output : {-1.0, 0.0, 3.0}) {
        EXPECT_NEAR(found.latent_scale * (output - found.latent_shift),
                    0.18215 * (output / 0.25 + 0.5), 1e-14);
    }
    tensors[vae + "vae_scale"] = at::zeros({});
    expect_in("latent scale", refusal(tensors));
    tensors[vae + "vae_scale"] = at::zeros({3});
    expect_in("has shape [3], expected one number", refusal(tensors));
}

TEST(DetectArchitecture, StrayEntriesBesideAWholeCheckpointPass) {
    for (const char* name :
         {"encoder.conv_in.weight", "text_model.final_layer_norm.bias", "emb_params", "betas",
          "model_ema.decay", "cond_stage_model.logit_scale", "down_blocks.0.resnets.0.x"}) {
        EXPECT_EQ(refusal(with(name, at::zeros({}))), "") << name;
    }
    EXPECT_EQ(refusal(with(text + "embeddings.position_ids", at::zeros({1, 77}, at::kLong))), "");
    EXPECT_EQ(refusal(with(unet + "x.to_q.weight", at::zeros({}))), "");  // a scalar is no layer
}

TEST(DetectArchitecture, TellsOtherFamiliesByTheTextThatTheyAttendTo) {
    const std::map<std::int64_t, std::string> families = {{1024, "Stable Diffusion 2.x"},
                                                          {1280, "refiner of Stable Diffusion XL"},
                                                          {2048, "Stable Diffusion XL"}};
    for (const auto& [width, family] : families) {
        expect_in("different models",
                  refusal(with(attention + "to_k.weight", at::zeros({32, width}))));
        expect_in(family, refusal(with(attention + "to_k.weight", at::zeros({32, width}))));
    }
    expect_in("different models", refusal(with(attention + "to_k.weight", at::zeros({32, 64}))));
}

TEST(DetectArchitecture, NamesTheTensorThatIsQuantised) {
    for (const auto type : {at::kFloat8_e4m3fn, at::kFloat8_e5m2, at::kChar, at::kByte}) {
        const std::string name = attention + "to_q.weight";
        const std::string message = refusal(with(name, at::zeros({32, 32}).to(type)));
        expect_in(name, message);
        expect_in(c10::toString(type), message);
        expect_in("fp16, bf16 or fp32", message);
    }
}

TEST(DetectArchitecture, NothingAtAll) {
    expect_in("holds 0 tensors", refusal({}));
}

// ----------------------------------------------------------------------------------- inventory

TEST(Inventory, CountsEveryTensorOnce) {
    Tensors tensors = smallest();
    tensors[unet + "out.2.bias"] = at::zeros({4}, at::kHalf);
    tensors[text + "embeddings.position_ids"] = at::zeros({1, 77}, at::kLong);
    tensors[vae + "decoder.conv_in.weight"] = at::zeros({32, 4, 3, 3}, at::kHalf);
    tensors[vae + "post_quant_conv.bias"] = at::zeros({4});
    tensors["model_ema.decay"] = at::zeros({});
    const Inventory found = take_inventory(TensorMap(tensors));
    EXPECT_EQ(found.unet.tensors, 4);
    EXPECT_EQ(found.unet.parameters, 32 * 4 * 9 + 32 * 32 + 32 * 128 + 4);
    EXPECT_EQ(found.unet.quantised, found.unet.parameters - 4);
    EXPECT_EQ(found.unet.largest, 32 * 128);
    EXPECT_EQ(found.unet.bytes, (std::map<std::string, std::int64_t>{
                                    {"Float", 4 * found.unet.quantised}, {"Half", 8}}));
    EXPECT_EQ(found.text_encoder.parameters, 1280);
    EXPECT_EQ(found.text_encoder.table, 1280);
    EXPECT_EQ(found.text_encoder.quantised, 0);
    EXPECT_EQ(found.vae_encoder.quantised, 32 * 27);
    EXPECT_EQ(found.vae_decoder.parameters, 32 * 36 + 4);
    EXPECT_EQ(found.other.tensors, 2);  // position_ids and the moving average
    const double quantised = 32 * 36 + 32 * 32 + 32 * 128 + 32 * 27 + 32 * 36;
    EXPECT_DOUBLE_EQ(found.quantised_share(), quantised / (quantised + 4 + 1280 + 4));
    EXPECT_EQ(take_inventory(TensorMap(Tensors{})).quantised_share(), 0);
}

}  // namespace
}  // namespace zoodip
