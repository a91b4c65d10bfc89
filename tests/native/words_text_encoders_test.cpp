// Two text encoders of other widths behind one flat theta: what goes where.
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "nn/tensor_map.h"
#include "words/text_encoders.h"
#include "zo/directions.h"

namespace zoodip {
namespace {

constexpr std::int64_t vocabulary = 20, tokens = 9;

// Random weights of a text encoder of one layer.
std::shared_ptr<TextEncoder> make_encoder(std::string key, std::int64_t width, std::uint64_t seed) {
    const std::string start = "cond_stage_model.transformer.text_model.";
    std::map<std::string, at::Tensor> weights;
    const auto add = [&](const std::string& name, std::int64_t rows, std::int64_t columns) {
        const std::uint64_t index = weights.size();
        const at::Tensor values = 0.2 * draw_directions(rows, columns, seed, index);
        weights[start + name] = rows == 1 ? values[0] : values;
    };
    add("embeddings.token_embedding.weight", vocabulary, width);
    add("embeddings.position_embedding.weight", tokens, width);
    const std::string layer = "encoder.layers.0.";
    for (const char* name : {"layer_norm1", "layer_norm2"}) {
        add(layer + name + ".weight", 1, width);
        add(layer + name + ".bias", 1, width);
    }
    for (const char* name : {"q_proj", "k_proj", "v_proj", "out_proj"}) {
        add(layer + "self_attn." + name + ".weight", width, width);
        add(layer + "self_attn." + name + ".bias", 1, width);
    }
    add(layer + "mlp.fc1.weight", 2 * width, width);
    add(layer + "mlp.fc1.bias", 1, 2 * width);
    add(layer + "mlp.fc2.weight", width, 2 * width);
    add(layer + "mlp.fc2.bias", 1, width);
    add("final_layer_norm.weight", 1, width);
    add("final_layer_norm.bias", 1, width);
    return std::make_shared<TextEncoder>(
        TensorMap(weights, "random"), LoadOptions{.weights = WeightType::dense},
        TextEncoderSpec{.key = std::move(key), .root = start, .heads = 2});
}

class TwoEncoders : public ::testing::Test {
  protected:
    TwoEncoders() {
        layout.add("sks", "clip_l", 2, 8);
        layout.add("sks", "clip_g", 2, 12);
        text.ids = at::arange(tokens, at::kLong).unsqueeze(0);
        text.places = {{0, 2}, {0, 6}};  // positions 2, 3 and 6, 7
    }
    // What an encoder makes of vectors [rows, 2, width] in the word's places.
    at::Tensor alone(const TextEncoder& encoder, const at::Tensor& vectors) const {
        return encoder.forward(text.ids, {{2, 3, 6, 7}, at::cat({vectors, vectors}, 1)}).hidden;
    }

    std::shared_ptr<TextEncoder> clip_l = make_encoder("clip_l", 8, 1),
                                 clip_g = make_encoder("clip_g", 12, 2);
    TextEncoders both{{clip_l, clip_g}};
    at::Tensor context(const TokenLayout& of, const at::Tensor& at_thetas) const {
        return both.condition(text, of, at_thetas, 1, {}).context;
    }
    TokenLayout layout;
    PreparedText text;
    at::Tensor thetas = draw_directions(3, 2 * 8 + 2 * 12, 5, 0);
};

TEST_F(TwoEncoders, StatesLieSideBySideEachWithItsOwnVectors) {
    const at::Tensor states = context(layout, thetas);
    ASSERT_EQ(states.sizes(), (std::vector<std::int64_t>{3, tokens, 8 + 12}));
    const at::Tensor narrow = thetas.slice(1, 0, 16).reshape({3, 2, 8});
    const at::Tensor wide = thetas.slice(1, 16).reshape({3, 2, 12});
    EXPECT_TRUE(at::equal(states.slice(2, 0, 8), alone(*clip_l, narrow)));
    EXPECT_TRUE(at::equal(states.slice(2, 8), alone(*clip_g, wide)));
}

TEST_F(TwoEncoders, EachPartOfThetaMovesItsOwnStatesAlone) {
    const at::Tensor before = context(layout, thetas);
    for (const bool wide : {false, true}) {
        at::Tensor moved = thetas.clone();
        (wide ? moved.slice(1, 16) : moved.slice(1, 0, 16)).add_(0.1);
        const at::Tensor after = context(layout, moved);
        EXPECT_EQ(at::equal(after.slice(2, 0, 8), before.slice(2, 0, 8)), wide);
        EXPECT_EQ(at::equal(after.slice(2, 8), before.slice(2, 8)), !wide);
        // Attention is causal: what stands before the word does not see it.
        EXPECT_TRUE(at::equal(after.slice(1, 0, 2), before.slice(1, 0, 2)));
    }
}

TEST_F(TwoEncoders, EveryVectorOfAWordIsInItsPlace) {
    const TokenInjection injection = inject(text, layout, thetas, "clip_g");
    EXPECT_EQ(injection.positions, (std::vector<std::int64_t>{2, 3, 6, 7}));
    for (std::int64_t i = 0; i < 4; ++i) {
        const std::int64_t from = 16 + 12 * (i % 2);
        EXPECT_TRUE(at::equal(injection.vectors.select(1, i), thetas.slice(1, from, from + 12)));
    }
}

TEST_F(TwoEncoders, TextsWithoutTheWordNeedNoTheta) {
    PreparedText plain{.ids = text.ids, .places = {}};
    const at::Tensor states = both.condition(plain, 1, {}).context;
    EXPECT_TRUE(at::equal(states.slice(2, 0, 8), clip_l->forward(plain.ids, {}).hidden));
    EXPECT_TRUE(at::equal(states.slice(2, 8), clip_g->forward(plain.ids, {}).hidden));
}

TEST_F(TwoEncoders, AWordWithoutVectorsForAnEncoderIsRefused) {
    TokenLayout one;
    one.add("sks", "clip_l", 2, 8);
    EXPECT_THROW(context(one, thetas.slice(1, 0, 16)), Error);
    EXPECT_THROW(TextEncoders(std::vector<std::shared_ptr<const TextEncoder>>{}), Error);
}

}  // namespace
}  // namespace zoodip
