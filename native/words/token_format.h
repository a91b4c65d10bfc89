// The formats of token files.
#pragma once

#include <string>

namespace zoodip {

// How a file names its tensors.
enum class TokenFormat {
    comfyui,   // by encoder: clip_l, clip_g, clip_h. What zoodip writes, for it says the most
    a1111,     // one tensor of a fixed name: emb_params. OneTrainer's emp_params is read as well
    diffusers  // one tensor, called as the word; or those of a pivotal tuning, text_encoders_0
};

// "comfyui", "a1111", "diffusers". parse throws Error that lists them.
const char* token_format_name(TokenFormat format);
TokenFormat parse_token_format(const std::string& name);

}  // namespace zoodip
