// Mutations of pictures for libFuzzer: its own, after which the checksums of a PNG are mended, so
// that not every one of them ends there.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <zlib.h>

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

namespace {

std::uint32_t read_big_endian(const std::uint8_t* from) {
    return std::uint32_t{from[0]} << 24 | std::uint32_t{from[1]} << 16 |
           std::uint32_t{from[2]} << 8 | from[3];
}

void write_big_endian(std::uint8_t* to, std::uint32_t value) {
    for (int i = 0; i < 4; ++i) to[i] = static_cast<std::uint8_t>(value >> (24 - 8 * i));
}

// A PNG is 8 bytes and chunks of: length of the data, type, data, CRC-32 of type and data.
void mend_checksums(std::uint8_t* data, std::size_t size) {
    if (size < 8 || std::memcmp(data, "\x89PNG", 4) != 0) return;
    for (std::size_t at = 8; size - at >= 12;) {
        const std::size_t length = read_big_endian(data + at);
        if (length > size - at - 12) return;
        std::uint8_t* const checksum = data + at + 8 + length;
        write_big_endian(checksum, static_cast<std::uint32_t>(
                                       crc32(0, data + at + 4, static_cast<uInt>(4 + length))));
        at += 12 + length;
    }
}

}  // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t max_size, unsigned) {
    size = LLVMFuzzerMutate(data, size, max_size);
    mend_checksums(data, size);
    return size;
}
