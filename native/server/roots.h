// Names of models and of folders of pictures: what lies below configured roots, and nothing else.
// Links in there are followed, as ComfyUI follows them: only who owns the folders can make them.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "jobs/place_names.h"

namespace zoodip {

class Roots {
  public:
    // Throws Error for a root that is no folder.
    Roots(const std::vector<std::filesystem::path>& models,
          const std::vector<std::filesystem::path>& images);

    // Checkpoints (.safetensors with a UNet in it) and diffusers folders, by name, sorted:
    // "sd15.safetensors", "sub/model".
    std::vector<std::string> models() const;
    // The file or folder of a name; the first root that has it wins. Throws HttpError: 422 for what
    // is no name (absolute, with "..", hidden), 404 when there is none.
    std::filesystem::path model(const std::string& name) const;
    std::filesystem::path images(const std::string& name) const;
    // The roots, which no answer names.
    PlaceNames places() const;

  private:
    std::vector<std::filesystem::path> models_, images_;  // canonical
};

}  // namespace zoodip
