#include "nn/token_table.h"

#include <vector>

#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/stack.h>

#include "core/error.h"

namespace zoodip {
namespace {

std::span<std::byte> bytes_of(at::Tensor& tensor) {
    return {static_cast<std::byte*>(tensor.mutable_data_ptr()), tensor.nbytes()};
}

}  // namespace

TokenTable::TokenTable(const at::Tensor& whole, PartReader reader)
    : shape_(at::empty_like(whole, whole.options().device(at::kMeta))),
      whole_(reader ? at::Tensor() : whole),
      reader_(std::move(reader)) {
    require(whole.dim() == 2, "token table: needs [vocabulary, width], got ",
            concat(whole.sizes()));
}

at::Tensor TokenTable::row(std::int64_t id) const {
    const std::lock_guard lock(read_->mutex);
    const auto found = read_->rows.find(id);
    if (found != read_->rows.end()) return found->second;
    at::Tensor stored = at::empty({width()}, shape_.scalar_type());
    reader_(static_cast<std::size_t>(id) * stored.nbytes(), bytes_of(stored));
    return read_->rows.emplace(id, stored.to(at::kFloat)).first->second;
}

at::Tensor TokenTable::rows(const at::Tensor& ids) const {
    const at::Tensor flat = ids.to(at::kCPU, at::kLong).contiguous().flatten();
    const std::span all(flat.const_data_ptr<std::int64_t>(),
                        static_cast<std::size_t>(flat.numel()));
    for (const std::int64_t id : all) {
        require(id >= 0 && id < vocabulary(), "token id ", id, " is outside the table of ",
                vocabulary(), " rows");
    }
    if (whole_.defined()) return at::embedding(whole_, ids.to(whole_.device())).to(at::kFloat);
    std::vector<at::Tensor> found;
    for (const std::int64_t id : all) found.push_back(row(id));
    std::vector<std::int64_t> shape = ids.sizes().vec();
    shape.push_back(width());
    return found.empty() ? at::empty(shape, at::kFloat) : at::stack(found).view(shape);
}

at::Tensor TokenTable::whole() const {
    if (whole_.defined()) return whole_;
    at::Tensor all = at::empty(shape_.sizes(), shape_.scalar_type());
    reader_(0, bytes_of(all));
    return all;
}

}  // namespace zoodip
