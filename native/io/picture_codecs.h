// What the decoders of pictures share.
#pragma once

#include <array>
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>

#include "io/picture.h"

namespace zoodip {

// Each takes bytes that begin as its format does.
Picture decode_jpeg(std::span<const std::byte> bytes, const std::string& name,
                    const PictureLimits& limits);
Picture decode_png(std::span<const std::byte> bytes, const std::string& name,
                   const PictureLimits& limits);
Picture decode_webp(std::span<const std::byte> bytes, const std::string& name,
                    const PictureLimits& limits);

// Throws Error when a picture of this size is not to be decoded.
void require_picture_size(std::int64_t width, std::int64_t height, const std::string& name,
                          const PictureLimits& limits);

// Lays [count, 4] RGBA with straight alpha over white: out is [count, 3].
void blend_over_white(std::span<const std::uint8_t> rgba, std::span<std::uint8_t> rgb);

// The C libraries report errors by a function that must not return.
struct Escape {
    std::jmp_buf point;
    std::array<char, 256> message{};

    [[noreturn]] void leave(const char* reason) {
        std::snprintf(message.data(), message.size(), "%s", reason);
        std::longjmp(point, 1);
    }
};

// Runs `step`, which calls a C library; false when it left through `escape`. No object with a
// destructor may live in `step`: it would not be destroyed.
template <class Step>
bool run_guarded(Escape& escape, const Step& step) {
    if (setjmp(escape.point) != 0) return false;
    step();
    return true;
}

}  // namespace zoodip
