// A tensor that lies in a file and is read in parts.
#pragma once

#include <cstddef>
#include <functional>
#include <span>

namespace zoodip {

// Reads the bytes [from, from + out.size()) of a tensor as it is stored. Any thread, several at
// once. Throws Error when they cannot be read whole.
using PartReader = std::function<void(std::size_t from, std::span<std::byte> out)>;

}  // namespace zoodip
