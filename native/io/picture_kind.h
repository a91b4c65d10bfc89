// What a file is, by its first bytes: names and extensions are whatever people make of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "io/decoders.h"

namespace zoodip {

constexpr std::uint64_t max_picture_pixels = 64'000'000, max_picture_side = 32768;
constexpr const char* avif_kind = "an AVIF picture";

// "a GIF", or the first bytes in hexadecimal.
std::string describe_start(std::span<const std::byte> bytes);

// Why a file that is no picture is not read: what it is, and what is read.
std::string refusal_of_kind(std::span<const std::byte> bytes);

using Decoder = DecodedPicture (*)(std::span<const std::byte>);
// Null for what is not read.
Decoder decoder_of(std::span<const std::byte> bytes);

// ".jpg" and so on, as decoder_of tells it; null for what is not read.
const char* extension_of(std::span<const std::byte> bytes);

}  // namespace zoodip
