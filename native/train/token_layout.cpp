#include "train/token_layout.h"

#include <utility>

#include "core/error.h"

namespace zoodip {

void TokenLayout::add(std::string word, std::string encoder, std::int64_t vectors,
                      std::int64_t width) {
    require(vectors >= 1 && width >= 1, "token layout: needs at least one vector of at least one ",
            "number, got [", vectors, ", ", width, "]");
    slots_.push_back({std::move(word), std::move(encoder), vectors, width, size_});
    size_ += vectors * width;
}

at::Tensor TokenLayout::slice(const at::Tensor& thetas, const TokenSlot& slot) const {
    require(thetas.dim() == 2 && thetas.size(1) == size_, "token layout: needs thetas [rows, ",
            size_, "], got ", concat(thetas.sizes()));
    return thetas.slice(1, slot.offset, slot.offset + slot.vectors * slot.width)
        .view({thetas.size(0), slot.vectors, slot.width});
}

}  // namespace zoodip
