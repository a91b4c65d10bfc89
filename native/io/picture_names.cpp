#include "io/picture_names.h"

#include <algorithm>

#include "core/ascii.h"

namespace zoodip {

const std::vector<std::string>& picture_endings() {
    static const std::vector<std::string> endings = {".jpg",  ".jpeg", ".jpe",  ".jfif",
                                                     ".png",  ".webp", ".avif", ".heic",
                                                     ".heif", ".hif",  ".gif",  ".bmp"};
    return endings;
}

bool is_picture_name(const std::filesystem::path& file) {
    const std::vector<std::string>& endings = picture_endings();
    const std::string ending = lower_ascii(file.extension().string());
    return std::find(endings.begin(), endings.end(), ending) != endings.end();
}

}  // namespace zoodip
