// Token files into the layouts that other programs read, and theirs into ours.
#pragma once

#include <filesystem>
#include <string>

#include "nn/tensor_file.h"
#include "words/token_file.h"

namespace zoodip {

struct TokenConversion {
    std::filesystem::path in, out;  // .safetensors
    TokenFormat to = TokenFormat::comfyui;
    std::string word;        // empty: what the file calls itself
    bool overwrite = false;  // replace an earlier `out`, which may be `in`
};

// The token as a file of that format: float32 (which holds float16 and bfloat16 exactly, and is
// what each of the programs computes with), the metadata as it was, with the word.
// Throws Error when the format cannot hold the token without loss.
TensorFile arrange_token(const TokenFile& token, TokenFormat format);

// Reads, arranges and writes, atomically. Warns when float64 was rounded. Throws Error.
void convert_token(const TokenConversion& conversion);

}  // namespace zoodip
