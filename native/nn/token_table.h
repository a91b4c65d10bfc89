// The embeddings of tokens: a table of which a run needs a few dozen rows.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>

#include <ATen/core/Tensor.h>

#include "ops/part_reader.h"

namespace zoodip {

// [vocabulary, width]: whole in memory, or left where it lies and read row by row, each once.
// Neither copied nor changed. Any thread.
class TokenTable {
  public:
    TokenTable() = default;
    // whole: floating point. With a reader only its shape and type are kept.
    explicit TokenTable(const at::Tensor& whole, PartReader reader = {});

    std::int64_t vocabulary() const { return shape_.size(0); }
    std::int64_t width() const { return shape_.size(1); }

    // ids: int64 of any shape, within the vocabulary (Error otherwise) -> float32 [..., width], on
    // the device of the table.
    at::Tensor rows(const at::Tensor& ids) const;
    // In its stored type; read for this call where it is not in memory.
    at::Tensor whole() const;

  private:
    at::Tensor row(std::int64_t id) const;

    // What a copy shares: rows that were read.
    struct Read {
        std::mutex mutex;
        std::unordered_map<std::int64_t, at::Tensor> rows;  // float32 [width]
    };
    at::Tensor shape_;  // on the meta device: shape and stored type
    at::Tensor whole_;  // or undefined
    PartReader reader_;
    std::shared_ptr<Read> read_ = std::make_shared<Read>();
};

}  // namespace zoodip
