// Any bytes as a .safetensors file: the header from memory, then the whole file through its path.
#include "io/safetensors.h"

#include <algorithm>
#include <string>
#include <vector>

#include "fuzz.h"
#include "memory_file.h"

namespace zoodip::fuzz {
namespace {

// How a reader that has all bytes at hand takes them.
SafetensorsHeader parse(std::string_view file) {
    const std::uint64_t length =
        read_header_length(file.substr(0, header_start), file.size(), "file");
    return parse_header(file.substr(8, length), file.size(), "file");
}

bool same(const TensorInfo& a, const TensorInfo& b) {
    return a.name == b.name && a.dtype == b.dtype && a.shape == b.shape && a.begin == b.begin &&
           a.end == b.end;
}

void check_tensors(const SafetensorsFile& file, std::span<const std::byte> bytes) {
    std::uint64_t read = 0;
    for (const TensorInfo& tensor : file.tensors()) {
        expect(tensor.begin <= tensor.end && tensor.end <= bytes.size(),
               "a tensor lies within the file");
        expect(tensor_bytes(tensor) == tensor.end - tensor.begin,
               "a tensor has the bytes of its shape");
        std::vector<std::byte> out(tensor.end - tensor.begin);
        file.read(tensor, out);
        const auto stored = bytes.subspan(tensor.begin, out.size());
        expect(std::equal(out.begin(), out.end(), stored.begin()), "read gives the stored bytes");
        expect(file.find(tensor.name) == &tensor, "find gives the tensor of that name");
        read += out.size();
    }
    expect(read < bytes.size(), "no byte belongs to two tensors");
}

}  // namespace
}  // namespace zoodip::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace zoodip;
    using namespace zoodip::fuzz;
    SafetensorsHeader header;
    const bool parsed = accepted([&] { header = parse(as_text(data, size)); });
    static MemoryFile file;
    file.fill(as_span(data, size));
    const bool opened = accepted([&] {
        const SafetensorsFile stored(file.path());
        check_tensors(stored, as_span(data, size));
        expect(std::equal(stored.tensors().begin(), stored.tensors().end(), header.tensors.begin(),
                          header.tensors.end(), same) &&
                   stored.metadata() == header.metadata,
               "the header is the same from a file and from memory");
    });
    expect(parsed == opened, "a file is taken when its header is");
    return 0;
}
