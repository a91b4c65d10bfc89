// What the fuzz targets share. A target feeds one input to a part of the library and knows two
// outcomes: the part takes it, and its promises hold, or the part throws Error. Whatever else
// happens (another exception, a broken promise, a sanitizer's report) is a finding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string_view>

#include "core/error.h"

// Every target defines this one; libFuzzer's name for it. Returns 0.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace zoodip::fuzz {

inline std::span<const std::byte> as_span(const std::uint8_t* data, std::size_t size) {
    return std::as_bytes(std::span(data, size));
}

inline std::string_view as_text(const std::uint8_t* data, std::size_t size) {
    return {reinterpret_cast<const char*>(data), size};
}

// Whether `work` went through; false when it threw Error. Other exceptions pass, and end the
// process.
template <class Work>
bool accepted(Work&& work) {
    try {
        work();
        return true;
    } catch (const Error&) {
        return false;
    }
}

// Ends the process when a promise of the library is broken.
inline void expect(bool holds, const char* promise) {
    if (holds) return;
    std::fprintf(stderr, "broken promise: %s\n", promise);
    std::abort();
}

}  // namespace zoodip::fuzz
