// Weights that are in memory already.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "nn/weight_source.h"

namespace zoodip {

class TensorMap : public WeightSource {
  public:
    explicit TensorMap(std::map<std::string, at::Tensor> tensors,
                       std::string description = "the given tensors",
                       std::map<std::string, std::string> metadata = {})
        : tensors_(std::move(tensors)),
          description_(std::move(description)),
          metadata_(std::move(metadata)) {
        for (const auto& [name, tensor] : tensors_) {
            list_.push_back({name, tensor.sizes().vec(), tensor.scalar_type()});
        }
    }

    const std::vector<WeightInfo>& list() const override { return list_; }
    const std::map<std::string, std::string>& metadata() const override { return metadata_; }
    const std::string& description() const override { return description_; }
    at::Tensor get(const std::string& name) const override {
        const auto found = tensors_.find(name);
        require(found != tensors_.end(), description_, ": has no tensor '", name, "'");
        return found->second.cpu().contiguous();
    }

  private:
    std::map<std::string, at::Tensor> tensors_;
    std::string description_;
    std::map<std::string, std::string> metadata_;
    std::vector<WeightInfo> list_;
};

}  // namespace zoodip
