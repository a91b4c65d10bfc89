// Where weights come from: pulled one tensor at a time, under the names of the original checkpoints
// (`model.diffusion_model.*`, `cond_stage_model.transformer.text_model.*`, `first_stage_model.*`).
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ops/part_reader.h"

namespace zoodip {

struct WeightInfo {
    std::string name;
    std::vector<std::int64_t> shape;
    at::ScalarType dtype;
};

class WeightSource {
  public:
    virtual ~WeightSource() = default;

    // Every tensor, sorted by name.
    virtual const std::vector<WeightInfo>& list() const = 0;

    // The tensor on the CPU, contiguous, in its stored dtype and shape; a copy of its own.
    // Throws Error when there is no such tensor or it cannot be read whole.
    virtual at::Tensor get(const std::string& name) const = 0;

    // Reads parts of a tensor, which is there, for as long as the reader lives; empty where the
    // source gives only whole tensors.
    virtual PartReader part_reader(const std::string&) const { return {}; }

    // Free-form text that came with the weights; empty where there is none.
    virtual const std::map<std::string, std::string>& metadata() const = 0;

    // For messages: a path, or what is wired in.
    virtual const std::string& description() const = 0;

    // nullptr when there is no such tensor.
    const WeightInfo* find(const std::string& name) const;
    bool has(const std::string& name) const { return find(name) != nullptr; }
};

// A single .safetensors file with original names, or a diffusers folder (unet/, text_encoder/,
// vae/, scheduler/). Throws Error that names what the path holds instead.
std::unique_ptr<WeightSource> open_weights(const std::filesystem::path& path);

}  // namespace zoodip
