// Token files: ours, those of other programs, those that are none, and what becomes of them.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <map>
#include <string>
#include <unistd.h>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include "expect_in.h"

#include "core/error.h"
#include "core/log.h"
#include "nn/tensor_file.h"
#include "reports/token_convert.h"
#include "reports/token_description.h"
#include "words/token_file.h"
#include "words/word.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;

using Tensors = std::map<std::string, at::Tensor>;
using Metadata = std::map<std::string, std::string>;

at::Tensor vectors(std::int64_t count = 2, std::int64_t width = 4) {
    return at::arange(count * width, at::kFloat).view({count, width}) / 7;
}

class TokenFiles : public testing::Test {
  protected:
    TokenFiles() : folder_(fs::temp_directory_path() / concat("zoodip-token-", getpid())) {
        fs::create_directories(folder_);
    }
    ~TokenFiles() override { fs::remove_all(folder_); }

    fs::path path(const std::string& name) const { return folder_ / name; }

    fs::path write(const Tensors& tensors, const Metadata& metadata = {},
                   const std::string& name = "x.safetensors") const {
        write_tensor_file(path(name), {tensors, metadata});
        return path(name);
    }

    fs::path write_bytes(const std::string& bytes) const {
        std::ofstream(path("x.safetensors"), std::ios::binary) << bytes;
        return path("x.safetensors");
    }

    static std::string bytes_of(const fs::path& file) {
        std::ifstream stream(file, std::ios::binary);
        return {std::istreambuf_iterator<char>(stream), {}};
    }

    // Every file that is left behind.
    std::vector<std::string> names() const {
        std::vector<std::string> out;
        for (const auto& entry : fs::directory_iterator(folder_)) {
            out.push_back(entry.path().filename().string());
        }
        return out;
    }

  private:
    fs::path folder_;
};

// The message of the refusal; empty when there is none.
template <class Work>
std::string refusal(Work&& work) {
    try {
        work();
    } catch (const Error& error) {
        return error.what();
    }
    return "";
}

struct Layout {
    Tensors tensors;
    TokenFormat format;
    std::vector<std::string> encoders, others;
};

TEST_F(TokenFiles, EveryLayoutIsRead) {
    const at::Tensor v = vectors();
    const std::vector<Layout> layouts = {
        {{{"clip_l", v}}, TokenFormat::comfyui, {"clip_l"}, {}},
        {{{"clip_h", v}}, TokenFormat::comfyui, {"clip_h"}, {}},
        {{{"clip_g", v}}, TokenFormat::comfyui, {"clip_g"}, {}},
        {{{"clip_l", v}, {"clip_g", v}}, TokenFormat::comfyui, {"clip_g", "clip_l"}, {}},
        {{{"clip_l", v}, {"t5xxl", v}}, TokenFormat::comfyui, {"clip_l"}, {"t5xxl"}},
        {{{"clip_l", v}, {"emb_params", v + 1}}, TokenFormat::comfyui, {"clip_l"}, {"emb_params"}},
        {{{"emb_params", v}}, TokenFormat::a1111, {"clip_l"}, {}},
        {{{"emb_params", v}, {"z", v + 1}}, TokenFormat::a1111, {"clip_l"}, {"z"}},
        {{{"emb_params", vectors(1, 1024)}}, TokenFormat::a1111, {"clip_h"}, {}},
        {{{"emb_params", vectors(3, 1280)}}, TokenFormat::a1111, {"clip_g"}, {}},
        {{{"<cat-toy>", v[0]}}, TokenFormat::diffusers, {"clip_l"}, {}},
        {{{"flora", v}}, TokenFormat::diffusers, {"clip_l"}, {}},
        {{{"decoder.v2", v}}, TokenFormat::diffusers, {"clip_l"}, {}},
    };
    for (const Layout& layout : layouts) {
        const TokenFile token = read_token(write(layout.tensors));
        SCOPED_TRACE(layout.tensors.begin()->first);
        EXPECT_EQ(token.format, layout.format);
        EXPECT_EQ(token.others, layout.others);
        ASSERT_EQ(token.vectors.size(), layout.encoders.size());
        for (const auto& encoder : layout.encoders) {
            const at::Tensor& expected = layout.tensors.begin()->second;
            const at::Tensor& found = token.vectors.at(encoder);
            EXPECT_EQ(found.scalar_type(), at::kFloat);
            EXPECT_TRUE(at::equal(found, expected.view({-1, expected.size(-1)})));
        }
    }
}

TEST_F(TokenFiles, HalvesBecomeFloatsExactlyAndDoublesAreRounded) {
    for (const auto type : {at::kHalf, at::kBFloat16, at::kFloat, at::kDouble}) {
        const at::Tensor stored = (vectors() / 3).to(type);
        const TokenFile token = read_token(write({{"clip_l", stored}}));
        EXPECT_TRUE(at::equal(token.vectors.at("clip_l"), stored.to(at::kFloat)));
        EXPECT_TRUE(at::equal(token.vectors.at("clip_l").to(type), stored));
        EXPECT_EQ(dtype_size(token.stored.at("clip_l")), stored.element_size());
    }
}

TEST_F(TokenFiles, TheWordIsTheFirstThatPromptsCanUse) {
    const auto word = [&](const std::string& key, const Metadata& metadata, const char* name) {
        return read_token(write({{key, vectors()}}, metadata, name)).word;
    };
    EXPECT_EQ(word("clip_l", {{"word", "sks"}}, "bear.safetensors"), "sks");
    EXPECT_EQ(word("clip_l", {{"word", "a b"}}, "bear.safetensors"), "bear");
    EXPECT_EQ(word("clip_l", {}, "bear.v2.safetensors"), "bear.v2");
    EXPECT_EQ(word("emb_params", {}, "bear.safetensors"), "bear");
    EXPECT_EQ(word("<cat-toy>", {}, "learned_embeds.safetensors"), "cat-toy");
    EXPECT_EQ(word("cat-toy", {{"word", "sks"}}, "learned_embeds.safetensors"), "sks");
    EXPECT_EQ(word("*", {}, "bear.safetensors"), "bear");
    EXPECT_EQ(word("<>", {}, "bear.safetensors"), "bear");

    const fs::path nameless = write({{"clip_l", vectors()}}, {{"word", "c d"}}, "a b.safetensors");
    expect_in("nothing in it can be used as a word in prompts (found 'c d'). Give it a word",
              refusal([&] { read_token(nameless); }));
    EXPECT_EQ(read_nameless_token(nameless).word, "");
    EXPECT_EQ(read_token(nameless, "sks").word, "sks");
    expect_in("word: 'e f' cannot name", refusal([&] { read_token(nameless, "e f"); }));
}

struct Refusal {
    Tensors tensors;
    std::string says;
};

TEST_F(TokenFiles, WhatIsNoTokenIsRefusedByName) {
    const at::Tensor v = vectors();
    const float inf = std::numeric_limits<float>::infinity();
    const std::vector<Refusal> table = {
        {{}, "is no token file; a token file holds clip_l or emb_params, and this one has no tens"},
        {{{"a", v}, {"b", v}}, "is no token file; a token file holds clip_l or emb_params, and th"},
        {{{"a", v}, {"b", v}},
         "has 2 tensors, the first a. Choose a file that a Textual Inversion"},
        {{{"lora_unet_x.lora_up.weight", v}}, "is a LoRA, not a token"},
        {{{"unet.x.lora.down.weight", v}, {"unet.x.lora.up.weight", v}}, "is a LoRA, not a token"},
        {{{"base.lora_A.weight", v}, {"base.lora_B.weight", v}}, "is a LoRA, not a token"},
        {{{"x.hada_w1_a", v}, {"x.hada_w1_b", v}}, "is a LoRA, not a token"},
        {{{"model.diffusion_model.x", v}, {"y", v}}, "is a checkpoint, not a token"},
        {{{"cond_stage_model.x", v}}, "is a checkpoint, not a token"},
        {{{"text_model.a", v}, {"text_model.b", v}}, "is a part of a model, not a token"},
        {{{"down_blocks.a", v}, {"mid", v}}, "is a part of a model, not a token"},
        {{{"theta", v}, {"m", v}, {"v", v}}, "is the state of a stopped training, not its token"},
        {{{"clip_l", at::ones({2, 2, 2})}}, "clip_l has shape [2, 2, 2], expected [vectors, wid"},
        {{{"clip_l", at::ones({})}}, "is no token; clip_l has shape [], expected"},
        {{{"clip_l", at::ones({0, 4})}}, "is no token; clip_l has shape [0, 4], expected"},
        {{{"clip_l", at::ones({4, 0})}}, "is no token; clip_l has shape [4, 0], expected"},
        {{{"clip_l", at::ones({0})}}, "is no token; clip_l has shape [0], expected"},
        {{{"clip_l", at::ones({1, 65537})}}, "is no token; clip_l has shape [1, 65537], expected"},
        {{{"clip_l", at::ones({76, 4})}}, "has 76 vectors, and the text encoder reads 75 at once"},
        {{{"clip_l", at::ones({2, 4}, at::kLong)}}, "clip_l holds I64, expected F16, BF16, F32 o"},
        {{{"emb_params", at::ones({2, 4}, at::kBool)}}, "emb_params holds BOOL, expected"},
        {{{"sks", at::ones({2, 4}).to(at::kFloat8_e4m3fn)}}, "sks holds F8_E4M3, expected"},
        {{{"clip_l", v / 0}}, "clip_l holds NaN or infinity. Train the word again"},
        {{{"clip_l", v}, {"clip_g", at::full({1, 4}, inf)}}, "clip_g holds NaN or infinity"},
        {{{"clip_l", at::full({1, 4}, 1e300, at::kDouble)}}, "clip_l holds NaN or infinity"},
    };
    for (const auto& [tensors, says] : table) {
        const fs::path file = write(tensors);
        const std::string message = refusal([&] { read_nameless_token(file); });
        expect_in(says, message);
        expect_in(file.string(), message);
    }
    EXPECT_NO_THROW(read_token(write({{"clip_l", at::ones({75, 4})}})));
}

TEST_F(TokenFiles, PicklesAreRefusedByTheirNameBeforeTheyAreOpened) {
    for (const char* name : {"x.pt", "x.bin", "x.ckpt", "x.pth", "X.PT"}) {
        const std::string message = refusal([&] { read_token(path(name)); });
        expect_in("is a Python pickle (.", message);
        expect_in("can run code when it is loaded. Use its .safetensors form", message);
    }
    expect_in("is a Python pickle", refusal([&] { read_token(write_bytes("PK\x03\x04 more")); }));
}

// The file claims 64 GiB and has them, as a hole: its shape is looked at before a byte is read.
TEST_F(TokenFiles, NothingIsReadOfWhatCannotBeAToken) {
    const std::string header =
        R"({"clip_l":{"dtype":"F32","shape":[262144,65536],"data_offsets":[0,68719476736]}})";
    std::string start(8, '\0');
    start[0] = static_cast<char>(header.size());
    const fs::path file = write_bytes(start + header);
    fs::resize_file(file, start.size() + header.size() + (1ull << 36));
    expect_in("has 262144 vectors", refusal([&] { read_token(file); }));
}

TEST_F(TokenFiles, EveryTruncatedFileIsAnError) {
    const std::string whole = bytes_of(write({{"clip_l", vectors()}}, {{"word", "sks"}}));
    for (std::size_t size = 0; size < whole.size(); ++size) {
        const fs::path file = write_bytes(whole.substr(0, size));
        EXPECT_NE(refusal([&] { read_token(file); }), "") << size << " bytes of " << whole.size();
    }
    EXPECT_EQ(refusal([&] { read_token(write_bytes(whole)); }), "");
}

TEST_F(TokenFiles, AFlippedBitGivesATokenOrAnError) {
    const Metadata metadata = {{"word", "sks"}, {"step", "3"}, {"zoodip", R"({"zoodip":"1"})"}};
    const std::string whole = bytes_of(write({{"clip_l", vectors()}}, metadata));
    for (std::size_t i = 0; i < whole.size(); ++i) {
        std::string damaged = whole;
        damaged[i] = static_cast<char>(damaged[i] ^ (1 << i % 8));
        const fs::path file = write_bytes(damaged);
        const std::string message = refusal([&] {
            const TokenFile token = read_nameless_token(file);
            for (const auto& [encoder, tensor] : token.vectors) {
                EXPECT_EQ(tensor.dim(), 2);
                EXPECT_TRUE(at::isfinite(tensor).all().item<bool>());
            }
            EXPECT_FALSE(to_text(describe_token(token)).empty());
        });
        if (!message.empty()) expect_in("x.safetensors", message);
    }
}

TEST_F(TokenFiles, AWordForAnotherModelIsRefusedWithBothWidths) {
    const fs::path file = "x.safetensors";
    const auto read = [&](const Tensors& tensors, const std::vector<TextEncoderSpec>& encoders) {
        Architecture model;
        model.family = "This family";
        model.encoders = encoders;
        return refusal([&] { vectors_for(read_token(write(tensors)), file, model); });
    };
    const TextEncoderSpec narrow{.key = "clip_l", .width = 4}, one{.key = "clip_l", .width = 768},
        wide{.key = "clip_g", .width = 5};
    EXPECT_EQ(read({{"clip_l", vectors()}}, {narrow}), "");
    EXPECT_EQ(read({{"clip_l", vectors()}, {"clip_g", vectors(2, 5)}}, {narrow}), "");
    EXPECT_EQ(read({{"clip_l", vectors()}, {"clip_g", vectors(2, 5)}}, {narrow, wide}), "");
    EXPECT_EQ(read({{"emb_params", vectors(1, 5)}}, {wide}), "");  // its width tells
    expect_in("for clip_l have 4 numbers, this model's have 768. It was made for another model",
              read({{"clip_l", vectors()}}, {one}));
    expect_in("are for clip_g of 1280 numbers, this model's are for clip_l of 768 numbers.",
              read({{"emb_params", vectors(1, 1280)}}, {one}));
    expect_in("are for clip_g of 4 numbers, this model's are for clip_l of 4 numbers.",
              read({{"clip_g", vectors()}}, {narrow}));
    expect_in("is half a word, it holds clip_g of 5 numbers and lacks clip_l; This family needs",
              read({{"clip_g", vectors(2, 5)}}, {narrow, wide}));
    expect_in("has 2 vectors for clip_l and 1 for clip_g, expected as many of each",
              read({{"clip_l", vectors()}, {"clip_g", vectors(1, 5)}}, {narrow, wide}));
}

TEST(Words, AreWhatPromptsAndFileNamesTake) {
    for (const char* word : {"sks", "a-b_c.d", "v2", "1x", "x.", "-a", "_", "1_", "1__0", "1e",
                             "e5", "1_.5", "0x1f", "infinit", "nan1"}) {
        EXPECT_TRUE(can_be_word(word)) << word;
    }
    for (const char* word :
         {"",           " ",    "a b", "(x)",   "a:b", "\xc3\xa9", "12",        "1.5",
          "-3",         "..",   "-",   "1e5",   "nan", "Inf",      "-infinity", "1_000",
          "1_0.5e-1_0", ".5e3", "5.",  "-1e-5", "1-2", "\x1b[0m"}) {
        EXPECT_FALSE(can_be_word(word)) << word;
    }
}

const Metadata made = {{"word", "sks"},
                       {"step", "30"},
                       {"zoodip", R"({"zoodip":"0.1.0","word":"sks"})"},
                       {"format", "pt"}};

TEST_F(TokenFiles, ThereAndBackAreTheSameBytes) {
    const std::vector<Tensors> tokens = {
        {{"clip_l", vectors(1)}},
        {{"clip_l", vectors(3)}},
        {{"clip_h", vectors(2, 1024)}},
        {{"clip_g", vectors(2, 1280)}},
        {{"clip_l", vectors(2, 768)}, {"clip_g", vectors(2, 1280)}}};
    for (const Tensors& tensors : tokens) {
        const fs::path ours = write(tensors, made, "ours.safetensors");
        for (const auto format :
             {TokenFormat::comfyui, TokenFormat::a1111, TokenFormat::diffusers}) {
            convert_token({ours, path("theirs.safetensors"), format, "", true});
            convert_token({path("theirs.safetensors"), path("back.safetensors"),
                           TokenFormat::comfyui, "", true});
            EXPECT_EQ(bytes_of(path("back.safetensors")), bytes_of(ours))
                << token_format_name(format);
        }
    }
}

TEST_F(TokenFiles, EachFormatHasItsNames) {
    const auto keys = [&](const Tensors& tensors, TokenFormat format,
                          const std::string& word = "") {
        std::string out;
        const TokenFile token = read_token(write(tensors, made), word);
        for (const auto& [key, tensor] : arrange_token(token, format).tensors) out += key + " ";
        return out;
    };
    const Tensors one = {{"emb_params", vectors()}};
    EXPECT_EQ(keys(one, TokenFormat::comfyui), "clip_l ");
    EXPECT_EQ(keys(one, TokenFormat::a1111), "emb_params ");
    EXPECT_EQ(keys(one, TokenFormat::diffusers), "sks ");
    EXPECT_EQ(keys(one, TokenFormat::diffusers, "zwx"), "zwx ");
    const Tensors sdxl = {{"clip_l", vectors()}, {"clip_g", vectors(2, 5)}};
    for (const auto format : {TokenFormat::comfyui, TokenFormat::a1111, TokenFormat::diffusers}) {
        EXPECT_EQ(keys(sdxl, format), "clip_g clip_l ");
    }
}

TEST_F(TokenFiles, TheMetadataIsKeptAndHasTheWord) {
    const fs::path foreign =
        write({{"emb_params", vectors()}}, {{"ss_steps", "900"}}, "bear.safetensors");
    convert_token({foreign, path("y.safetensors"), TokenFormat::comfyui, "", false});
    EXPECT_EQ(read_token(path("y.safetensors")).metadata,
              (Metadata{{"ss_steps", "900"}, {"word", "bear"}, {"format", "pt"}}));
    convert_token({foreign, path("y.safetensors"), TokenFormat::comfyui, "sks", true});
    EXPECT_EQ(read_token(path("y.safetensors")).word, "sks");
}

TEST_F(TokenFiles, WhatAFormatCannotHoldIsRefused) {
    const auto to = [&](const Tensors& tensors, TokenFormat format,
                        const std::string& word = "sks") {
        const fs::path in = write(tensors, {}, "in.safetensors");
        return refusal([&] { convert_token({in, path("out.safetensors"), format, word, false}); });
    };
    const at::Tensor v = vectors();
    expect_in(
        "to: a1111 does not name the encoder, and vectors of 4 numbers would be taken for "
        "clip_l, not clip_g. Use `to comfyui`",
        to({{"clip_g", v}}, TokenFormat::a1111));
    expect_in("not clip_l", to({{"clip_l", vectors(1, 1280)}}, TokenFormat::diffusers));
    expect_in(
        "to: diffusers has one tensor, or clip_l and clip_g; this token has clip_g and clip_h",
        to({{"clip_g", v}, {"clip_h", v}}, TokenFormat::diffusers));
    expect_in("to: A1111 takes as many vectors for clip_l as for clip_g; this token has 2 and 3",
              to({{"clip_l", v}, {"clip_g", vectors(3)}}, TokenFormat::a1111));
    expect_in("'clip_g' as the word, which names an encoder or layout. Give another `word`",
              to({{"clip_l", v}}, TokenFormat::diffusers, "clip_g"));
    expect_in("holds also t5xxl, which would be lost",
              to({{"clip_l", v}, {"t5xxl", v}}, TokenFormat::comfyui));
    EXPECT_EQ(names(), (std::vector<std::string>{"in.safetensors"}));
}

TEST_F(TokenFiles, AnEarlierFileIsNotLost) {
    const fs::path in = write({{"clip_l", vectors()}}, {}, "sks.safetensors");
    const std::string before = bytes_of(in);
    expect_in("sks.safetensors exists: name another `out`, or add `overwrite`", refusal([&] {
                  convert_token({in, in, TokenFormat::a1111, "", false});
              }));
    expect_in("out: 'y.pt' needs the ending .safetensors", refusal([&] {
                  convert_token({in, "y.pt", TokenFormat::a1111, "", true});
              }));
    expect_in("word: 'a b' cannot name", refusal([&] {
                  convert_token({in, in, TokenFormat::a1111, "a b", true});
              }));
    EXPECT_EQ(bytes_of(in), before);
    convert_token({in, in, TokenFormat::a1111, "", true});
    EXPECT_EQ(read_token(in).format, TokenFormat::a1111);
    EXPECT_EQ(names(), (std::vector<std::string>{"sks.safetensors"}));
}

TEST_F(TokenFiles, ARoundedDoubleIsWarnedOf) {
    std::vector<std::string> said;
    set_log_sink([&](LogLevel, const std::string& message) { said.push_back(message); });
    for (const auto type : {at::kDouble, at::kHalf}) {
        const fs::path in = write({{"clip_l", vectors().to(type)}});
        convert_token({in, path("y.safetensors"), TokenFormat::comfyui, "", true});
    }
    set_log_sink({});
    ASSERT_EQ(said.size(), 1u);
    expect_in("clip_l is stored as F64", said[0]);
}

}  // namespace
}  // namespace zoodip
