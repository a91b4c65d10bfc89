// Where words lie in the flat vector theta. Several vectors a word, two text encoders and several
// words are the same thing: more slots.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace zoodip {

struct TokenSlot {
    std::string word;
    std::string encoder;       // "clip_l": the key that embedding files use
    std::int64_t vectors = 1;  // rows
    std::int64_t width = 0;    // columns
    std::int64_t offset = 0;   // into theta
    std::size_t index = 0;     // of the word, among the words in the order added
};

class TokenLayout {
  public:
    void add(std::string word, std::string encoder, std::int64_t vectors, std::int64_t width);

    std::int64_t size() const { return size_; }  // d
    const std::vector<TokenSlot>& slots() const { return slots_; }
    // The slot of a word, by its index, for an encoder. Throws Error when there is none.
    const TokenSlot& slot(std::size_t index, const std::string& encoder) const;

    // How many words there are.
    std::size_t words() const;
    // A layout of one of the words alone, and what theta [d] has of it, float32 [its size].
    TokenLayout of_word(std::size_t index) const;
    at::Tensor part_of_word(std::size_t index, const at::Tensor& theta) const;

    // Puts 1 into the numbers of one of the words in mask, float32 [d].
    void mark_word(std::size_t index, const at::Tensor& mask) const;

    // thetas [rows, d] -> [rows, vectors, width], a view.
    at::Tensor slice(const at::Tensor& thetas, const TokenSlot& slot) const;

  private:
    std::vector<TokenSlot> slots_;
    std::int64_t size_ = 0;
};

}  // namespace zoodip
