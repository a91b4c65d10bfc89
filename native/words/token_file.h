// Token files: embeddings as ComfyUI, A1111 and diffusers keep them, and ours among them, with how
// a word was made in the metadata. `.safetensors` only.
//
// What the others read, by their sources:
//   ComfyUI    comfy/sd1_clip.py, load_embed: the tensor under the encoder's name (clip_l, clip_g,
//              clip_h), else the first tensor, whatever it is called. Prompts name the file.
//   A1111      modules/textual_inversion/textual_inversion.py, create_embedding_from_data: clip_l
//              together with clip_g, else the only tensor, whatever it is called. Prompts name the
//              file. By custom that tensor is emb_params, as kohya's train_textual_inversion.py
//              (save_weights) writes it; sdxl_train_textual_inversion.py writes clip_l and clip_g.
//   diffusers  loaders/textual_inversion.py, load_textual_inversion: the only tensor; its name is
//              the word unless token= says another. For SDXL its guide loads the file and passes
//              state_dict["clip_l"] and ["clip_g"], each with its own text encoder and tokenizer.
//   OneTrainer modules/modelSaver, its embedding savers: emp_params (Stable Diffusion 1.x and 2.x),
//              clip_l and clip_g (SDXL), and with an output vector also emp_params_out and so on.
// So one tensor is read by all three under any name, and under the word itself diffusers needs no
// token=. Two tensors are clip_l and clip_g everywhere.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "io/safetensors.h"
#include "nn/family.h"
#include "words/token_format.h"
#include "words/token_layout.h"

namespace zoodip {

struct TokenFile {
    // How prompts name it: the first of `names` that can be a word; empty when none can.
    std::string word;
    // Encoder ("clip_l", "clip_g", "clip_h") -> float32 [vectors, width], finite: at most 75
    // vectors.
    std::map<std::string, at::Tensor> vectors;
    std::map<std::string, std::string> metadata;  // as stored
    TokenFormat format = TokenFormat::comfyui;
    std::map<std::string, Dtype> stored;           // the numbers' type in the file, by encoder
    std::map<std::string, std::string> keys = {};  // what the tensors are called, by encoder
    std::vector<std::string> others;  // tensors beside those, which are not read: "t5xxl"
    std::vector<std::string> names;   // in the metadata, of the tensor, of the file
};

// Writes one 2-D float32 tensor for each encoder of the layout, atomically. The bytes depend on the
// arguments alone.
void write_token(const std::filesystem::path& file, const TokenLayout& layout,
                 const at::Tensor& theta, const std::map<std::string, std::string>& metadata);

// Reads a file of any of the formats; a single tensor is for the encoder that its width tells.
// float16 and bfloat16 become float32 exactly, float64 is rounded to it as every reader does.
// `word` replaces what the file calls itself, and chooses among the words inside a LoRA.
// Throws Error that names the file and what was found, also when nothing in it can be a word.
TokenFile read_token(const std::filesystem::path& file, const std::string& word = {});

// The same, but a file in which nothing can be a word has none: for showing what there is.
TokenFile read_nameless_token(const std::filesystem::path& file);

// What a file holds beside the word, for people: "emp_params_out (an output vector)", "792 tensors
// of a LoRA". warn_of_others logs that none of it is used.
std::vector<std::string> describe_others(const TokenFile& token);
void warn_of_others(const TokenFile& token, const std::filesystem::path& file);

// The vectors for each of a model's text encoders, in their order, as many of each. Throws Error
// that says which models the word is for, or which half of it is missing.
std::vector<at::Tensor> vectors_for(const TokenFile& token, const std::filesystem::path& file,
                                    const Architecture& architecture);

// The encoder of which a single tensor of this width is taken to be.
const char* encoder_of_width(std::int64_t width);

// Whether a tensor of this name says what it is and so cannot name a word: clip_l, emb_params.
bool is_format_key(const std::string& name);

}  // namespace zoodip
