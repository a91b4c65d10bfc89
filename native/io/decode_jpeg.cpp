#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <jerror.h>
#include <jpeglib.h>
#include <utility>

#include "core/error.h"
#include "io/decoders.h"
#include "io/exif.h"

namespace zoodip {
namespace {

// libjpeg reports by calling back; errors must not return. Nothing with a destructor is created
// between setjmp and the calls that may jump.
struct Handler {
    jpeg_error_mgr base;
    std::jmp_buf escape;
    std::array<char, JMSG_LENGTH_MAX> message;
};

void on_error(j_common_ptr info) {
    auto* handler = reinterpret_cast<Handler*>(info->err);
    info->err->format_message(info, handler->message.data());
    std::longjmp(handler->escape, 1);
}

// Level -1 is a warning about damaged data, which libjpeg would fill with grey. Three of them are
// harmless habits of cameras and editors: stray bytes between segments, odd version numbers.
void on_message(j_common_ptr info, int level) {
    static constexpr std::array<int, 3> harmless = {JWRN_EXTRANEOUS_DATA, JWRN_ADOBE_XFORM,
                                                    JWRN_JFIF_MAJOR};
    const int code = info->err->msg_code;
    if (level < 0 && std::find(harmless.begin(), harmless.end(), code) == harmless.end()) {
        on_error(info);
    }
}

// A few bytes can order another pass over all coefficients, again and again without end. Encoders
// make about ten.
void on_progress(j_common_ptr info) {
    constexpr int max_scans = 100;
    if (reinterpret_cast<j_decompress_ptr>(info)->input_scan_number <= max_scans) return;
    auto* handler = reinterpret_cast<Handler*>(info->err);
    std::snprintf(handler->message.data(), handler->message.size(), "more than %d scans",
                  max_scans);
    std::longjmp(handler->escape, 1);
}

struct Jpeg {
    jpeg_decompress_struct info{};
    jpeg_progress_mgr progress{};
    Handler handler{};

    Jpeg() {
        info.err = jpeg_std_error(&handler.base);
        handler.base.error_exit = on_error;
        handler.base.emit_message = on_message;
    }
    ~Jpeg() { jpeg_destroy_decompress(&info); }
    Jpeg(const Jpeg&) = delete;
    Jpeg& operator=(const Jpeg&) = delete;

    bool read_header(std::span<const std::byte> bytes) {
        if (setjmp(handler.escape) != 0) return false;
        jpeg_create_decompress(&info);
        progress.progress_monitor = on_progress;
        info.progress = &progress;
        jpeg_mem_src(&info, reinterpret_cast<const unsigned char*>(bytes.data()),
                     static_cast<unsigned long>(bytes.size()));
        jpeg_save_markers(&info, JPEG_APP0 + 1, 0xFFFF);
        jpeg_read_header(&info, TRUE);
        return true;
    }

    bool read_pixels(std::uint8_t* out) {
        if (setjmp(handler.escape) != 0) return false;
        info.out_color_space = JCS_RGB;
        jpeg_start_decompress(&info);
        while (info.output_scanline < info.output_height) {
            JSAMPROW row = out + std::size_t{3} * info.output_width * info.output_scanline;
            jpeg_read_scanlines(&info, &row, 1);
        }
        jpeg_finish_decompress(&info);
        return true;
    }

    // After read_header and before read_pixels, at whose end libjpeg frees the markers. XMP lies in
    // an APP1 segment as well.
    int orientation() const {
        for (auto* marker = info.marker_list; marker != nullptr; marker = marker->next) {
            const std::span data(reinterpret_cast<const std::byte*>(marker->data),
                                 marker->data_length);
            const bool exif = data.size() >= 6 && std::memcmp(data.data(), "Exif\0\0", 6) == 0;
            if (exif) return exif_orientation(data);
        }
        return 1;
    }
};

}  // namespace

Picture decode_jpeg(std::span<const std::byte> bytes) {
    Jpeg jpeg;
    require(jpeg.read_header(bytes), "is a damaged JPEG (", jpeg.handler.message.data(), ")");
    require_picture_size(jpeg.info.image_width, jpeg.info.image_height);
    require(jpeg.info.num_components != 4, "is a CMYK JPEG, made for print. Save it as RGB");
    Picture picture = make_picture(static_cast<int>(jpeg.info.image_width),
                                   static_cast<int>(jpeg.info.image_height));
    const int orientation = jpeg.orientation();
    require(jpeg.read_pixels(picture.rgb.data()), "is a JPEG that is damaged or cut off (",
            jpeg.handler.message.data(), ")");
    return apply_orientation(std::move(picture), orientation);
}

}  // namespace zoodip
