// Byte-pair encoding over bytes, with an end-of-word mark.
//
// Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units", ACL 2016.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace zoodip {

// Ids: the 256 bytes in the order of CLIP's byte alphabet, the same 256 as the end of a word, then
// one id for each merge. A merge with a smaller id goes first.
class BytePair {
  public:
    // One merge a line, "left right", best first, written in CLIP's byte alphabet (each byte is a
    // printable character), with </w> at the end of a word. Throws Error naming the line that is
    // not two known symbols or that makes a symbol again.
    explicit BytePair(std::string_view merges);

    std::int64_t size() const { return static_cast<std::int64_t>(bytes_.size()); }

    // Appends the ids of one word (not empty). O(n log n) in its bytes.
    void encode(std::string_view word, std::vector<std::int64_t>& ids) const;

    // The bytes that id stands for, without the mark. 0 <= id < size().
    const std::string& bytes(std::int64_t id) const { return bytes_[static_cast<std::size_t>(id)]; }

    // What the pair (left, right) becomes, or nothing.
    std::optional<std::int32_t> merged(std::int32_t left, std::int32_t right) const;

  private:
    std::vector<std::string> bytes_;                          // of each id
    std::vector<std::int32_t> byte_ids_;                      // [256]: the id of each byte
    std::unordered_map<std::uint64_t, std::int32_t> merges_;  // (left, right) -> id
};

}  // namespace zoodip
