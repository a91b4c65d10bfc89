// Any bytes as a picture (of any format that is read, with EXIF, XMP and profiles), cropped and
// scaled, and written as PNG.
#include "io/picture.h"

#include "fuzz.h"

namespace zoodip::fuzz {
namespace {

void expect_whole(const Picture& picture) {
    expect(picture.width > 0 && picture.height > 0 &&
               picture.rgb.size() == std::size_t{3} * static_cast<std::size_t>(picture.width) *
                                         static_cast<std::size_t>(picture.height),
           "a picture has width x height x 3 bytes");
}

}  // namespace
}  // namespace zoodip::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace zoodip;
    using namespace zoodip::fuzz;
    Picture picture;
    if (!accepted([&] { picture = decode_picture(as_span(data, size), "picture"); })) return 0;
    expect_whole(picture);
    // The side is taken from the input, so that it varies with it: 1 to 64.
    const Picture scaled = crop_resize(picture, 1 + data[size - 1] % 64, 1 + data[size / 2] % 64);
    expect_whole(scaled);
    const Picture back = decode_picture(encode_png(scaled), "picture");
    expect(back.width == scaled.width && back.height == scaled.height && back.rgb == scaled.rgb,
           "a picture is read back as it was written");
    return 0;
}
