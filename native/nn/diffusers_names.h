// The names that diffusers and transformers give to the tensors of a model, turned into those of
// the original checkpoints.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>

namespace zoodip {

// What the numbering of blocks depends on.
struct UNetBlocks {
    std::int64_t resnets = 2;         // of a down block; an up block has one more
    std::set<std::int64_t> attended;  // up blocks with attention
};

// nullopt for a name that has no counterpart.
std::optional<std::string> original_unet_name(const std::string& name, const UNetBlocks& blocks);
// root: "cond_stage_model.transformer." where there is one text encoder.
std::optional<std::string> original_text_encoder_name(const std::string& name,
                                                      const std::string& root);
std::optional<std::string> original_vae_name(const std::string& name, std::int64_t levels);
std::optional<std::string> original_taesd_name(const std::string& name);

}  // namespace zoodip
