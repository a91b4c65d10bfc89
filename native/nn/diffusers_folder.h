// A model as diffusers saves it: a folder with unet/, text_encoder/, vae/ and scheduler/.
#pragma once

#include <filesystem>
#include <memory>

#include "nn/weight_source.h"

namespace zoodip {

// Presents the folder under original names. What its configurations say that shapes do not (heads,
// prediction type, latent scale) becomes the metadata that detect_architecture reads.
// Throws Error that names the missing part.
std::unique_ptr<WeightSource> open_diffusers_folder(const std::filesystem::path& folder);

}  // namespace zoodip
