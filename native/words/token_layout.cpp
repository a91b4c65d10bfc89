#include "words/token_layout.h"

#include <algorithm>
#include <utility>

#include <ATen/ops/cat.h>

#include "core/error.h"

namespace zoodip {

void TokenLayout::add(std::string word, std::string encoder, std::int64_t vectors,
                      std::int64_t width) {
    require(vectors >= 1 && width >= 1, "token layout: needs at least one vector of at least one ",
            "number, got [", vectors, ", ", width, "]");
    std::size_t index = 0;
    for (const TokenSlot& slot : slots_) {
        if (slot.word == word) {
            index = slot.index;
            break;
        }
        index = std::max(index, slot.index + 1);
    }
    slots_.push_back({std::move(word), std::move(encoder), vectors, width, size_, index});
    size_ += vectors * width;
}

const TokenSlot& TokenLayout::slot(std::size_t index, const std::string& encoder) const {
    for (const TokenSlot& slot : slots_) {
        if (slot.index == index && slot.encoder == encoder) return slot;
    }
    fail("token layout: has no word ", index, " for ", encoder);
}

std::size_t TokenLayout::words() const {
    std::size_t count = 0;
    for (const TokenSlot& slot : slots_) count = std::max(count, slot.index + 1);
    return count;
}

TokenLayout TokenLayout::of_word(std::size_t index) const {
    TokenLayout one;
    for (const TokenSlot& slot : slots_) {
        if (slot.index == index) one.add(slot.word, slot.encoder, slot.vectors, slot.width);
    }
    return one;
}

at::Tensor TokenLayout::part_of_word(std::size_t index, const at::Tensor& theta) const {
    std::vector<at::Tensor> parts;
    for (const TokenSlot& slot : slots_) {
        if (slot.index == index) parts.push_back(slice(theta.unsqueeze(0), slot).flatten());
    }
    return at::cat(parts);
}

void TokenLayout::mark_word(std::size_t index, const at::Tensor& mask) const {
    for (const TokenSlot& slot : slots_) {
        if (slot.index != index) continue;
        mask.slice(0, slot.offset, slot.offset + slot.vectors * slot.width).fill_(1);
    }
}

at::Tensor TokenLayout::slice(const at::Tensor& thetas, const TokenSlot& slot) const {
    require(thetas.dim() == 2 && thetas.size(1) == size_, "token layout: needs thetas [rows, ",
            size_, "], got ", concat(thetas.sizes()));
    return thetas.slice(1, slot.offset, slot.offset + slot.vectors * slot.width)
        .view({thetas.size(0), slot.vectors, slot.width});
}

}  // namespace zoodip
