// Weights in .safetensors files, under their own names or renamed.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/safetensors.h"
#include "nn/weight_source.h"

namespace zoodip {

at::ScalarType scalar_type_of(Dtype type);
// Throws Error for a type that safetensors cannot hold.
Dtype dtype_of(at::ScalarType type);

// The tensor's bytes as a CPU tensor of its own.
at::Tensor read_tensor(const SafetensorsFile& file, const TensorInfo& info);

// Files of one model part each, presented as one source. A part's `rename` gives the original
// checkpoint's name of each of its tensors; those without one are left out. The given metadata goes
// before that of the files. The constructor throws Error when two tensors have one name.
class SafetensorsSource : public WeightSource {
  public:
    using Rename = std::function<std::optional<std::string>(const std::string&)>;
    struct Part {
        std::filesystem::path file;
        Rename rename;
    };

    SafetensorsSource(const std::vector<Part>& parts, std::string description,
                      std::map<std::string, std::string> metadata);

    const std::vector<WeightInfo>& list() const override { return list_; }
    const std::map<std::string, std::string>& metadata() const override { return metadata_; }
    const std::string& description() const override { return description_; }
    at::Tensor get(const std::string& name) const override;
    PartReader part_reader(const std::string& name) const override;

  private:
    struct Place {
        std::shared_ptr<const SafetensorsFile> file;
        const TensorInfo* info;
    };
    const Place& place_of(const std::string& name) const;

    std::vector<std::shared_ptr<const SafetensorsFile>> files_;
    std::map<std::string, Place> places_;
    std::vector<WeightInfo> list_;
    std::map<std::string, std::string> metadata_;
    std::string description_;
};

// One file with original names; its own metadata.
std::unique_ptr<WeightSource> open_checkpoint(const std::filesystem::path& file);

}  // namespace zoodip
