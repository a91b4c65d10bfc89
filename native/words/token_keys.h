// Which tensors of a file are a word's vectors, by their names alone: nothing of a checkpoint's
// gigabytes is read.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "io/safetensors.h"
#include "words/token_format.h"

namespace zoodip {

struct TokenKeys {
    TokenFormat format = TokenFormat::comfyui;
    // Encoder and tensor; an empty encoder where the tensor's width tells.
    std::vector<std::pair<std::string, const TensorInfo*>> vectors;
    std::vector<std::string> words;  // that the names give it, none or one
};

// What is known, in this order:
//   clip_l, clip_g, clip_h              ComfyUI, kohya and OneTrainer (SDXL), zoodip
//   text_encoders_0, text_encoders_1    diffusers' pivotal tuning: clip_l, clip_g
//   emb_params                          kohya, A1111
//   emp_params                          OneTrainer, which spells it so
//   string_to_param, string_to_param.*, *   A1111's own files and InvokeAI's, taken over
//   bundle_emb.WORD.(any of these)      a word inside a LoRA, as A1111 reads it
//   the only tensor, whatever its name  diffusers, InvokeAI: its name is the word, unless it says
//                                       only what it is ("embedding")
// asked: which of several words in a LoRA, empty for the only one. Throws Error that says what the
// file is instead.
TokenKeys find_token_keys(const SafetensorsFile& file, const std::string& asked);

// Whether a tensor is an output vector, which OneTrainer trains beside the word and no text encoder
// takes: emp_params_out, clip_l_out.
bool is_output_vector(const std::string& key);

// Whether a tensor is one of a LoRA.
bool is_lora_part(const std::string& key);

}  // namespace zoodip
