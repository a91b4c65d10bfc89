// What stands for the decoders whose libraries were not there when this was built.
#include "core/error.h"
#include "io/decoders.h"
#include "io/picture_kind.h"

namespace zoodip {
namespace {

[[noreturn, maybe_unused]] void not_built(std::span<const std::byte> bytes, const char* package) {
    fail("is ", describe_start(bytes), ", which this build of zoodip does not read. Save it as ",
         "JPEG or PNG, or install ", package, " (Debian, Ubuntu) and run install.py again");
}

}  // namespace

#ifndef ZOODIP_HAVE_GIF
DecodedPicture decode_gif(std::span<const std::byte> bytes) {
    not_built(bytes, "libgif-dev");
}
#endif

#ifndef ZOODIP_HAVE_STB
DecodedPicture decode_bmp(std::span<const std::byte> bytes) {
    not_built(bytes, "libstb-dev");
}
#endif

#ifndef ZOODIP_HAVE_HEIF
DecodedPicture decode_heif(std::span<const std::byte> bytes) {
    not_built(bytes, "libheif-dev");
}
#endif

}  // namespace zoodip
