// SHA-256 (FIPS 180-4), to name pictures and models by what they hold.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace zoodip {

class Sha256 {
  public:
    void update(std::span<const std::byte> bytes);
    void update(std::string_view text) { update(std::as_bytes(std::span(text))); }

    // 64 lower-case hexadecimal digits of all bytes so far; more may follow.
    std::string hex() const;

  private:
    void compress(const std::byte* block);

    std::array<std::uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                           0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    std::array<std::byte, 64> buffer_{};
    std::uint64_t length_ = 0;  // bytes
};

}  // namespace zoodip
