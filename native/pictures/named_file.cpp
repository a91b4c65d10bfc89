#include "pictures/named_file.h"

#include "core/error.h"
#include "io/atomic_file.h"

namespace zoodip {

std::vector<std::byte> read_named_file(const std::filesystem::path& file, const std::string& name,
                                       std::uint64_t max_bytes) {
    try {
        return read_file(file, max_bytes);
    } catch (const Error& error) {
        std::string message = error.what();
        const std::string path = file.string();
        const std::size_t at = message.find(path);
        if (at != std::string::npos) message.replace(at, path.size(), name);
        throw Error(message);
    }
}

}  // namespace zoodip
