// Small files of tensors: tokens and the state of a run.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include <ATen/core/Tensor.h>

namespace zoodip {

struct TensorFile {
    std::map<std::string, at::Tensor> tensors;
    std::map<std::string, std::string> metadata;
};

// Atomically; equal arguments give equal bytes.
void write_tensor_file(const std::filesystem::path& file, const TensorFile& contents);

// Throws Error as SafetensorsFile does.
TensorFile read_tensor_file(const std::filesystem::path& file);

}  // namespace zoodip
