// The result: an embedding file as ComfyUI loads it, with how it was made in its metadata.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include <ATen/core/Tensor.h>

#include "train/token_layout.h"

namespace zoodip {

struct TokenFile {
    std::string word;  // from the metadata, else the file's name; not empty
    std::map<std::string, at::Tensor> vectors;  // encoder ("clip_l") -> float32 [vectors, width]
    std::map<std::string, std::string> metadata;
};

// Writes one 2-D float32 tensor for each encoder of the layout, atomically. The bytes depend on the
// arguments alone.
void write_token(const std::filesystem::path& file, const TokenLayout& layout,
                 const at::Tensor& theta, const std::map<std::string, std::string>& metadata);

// Reads `clip_l`, or `emb_params`, or the only tensor of a file. Throws Error that names the file
// and what was found.
TokenFile read_token(const std::filesystem::path& file);

}  // namespace zoodip
