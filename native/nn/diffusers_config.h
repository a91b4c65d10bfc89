// What the JSON files of a diffusers folder say that the names and shapes of its tensors do not.
#pragma once

#include <filesystem>
#include <map>
#include <string>

namespace zoodip {

// Heads, layers and activation of each text encoder, noise schedule, prediction type, resolution,
// latent scale and shift, as the metadata of nn/family.h. `taesd`: the folder's vae is an
// AutoencoderTiny, whose own latent scale is 1. Throws Error for a file that is not a JSON object,
// for a scheduler of another kind and for values that change what the networks compute; what the
// others mean is judged by detect_architecture.
std::map<std::string, std::string> read_diffusers_metadata(const std::filesystem::path& folder,
                                                           bool taesd);

// Throws Error that names what the folder is, if its JSON files or file names tell that it is
// another family's model, a part of a model or an adapter.
void refuse_foreign_folder(const std::filesystem::path& folder);

}  // namespace zoodip
