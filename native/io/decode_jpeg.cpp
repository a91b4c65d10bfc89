#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <jerror.h>
#include <jpeglib.h>
#include <memory>
#include <string>
#include <string_view>

#include "core/error.h"
#include "io/color_profile.h"
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

// Level -1 is a warning about damaged data, which libjpeg would fill with grey. These are harmless
// habits of cameras and editors: stray bytes between segments, odd version numbers, a baseline scan
// whose header names parameters of progressive ones (which nothing reads then), a profile of
// colours that is not whole.
void on_message(j_common_ptr info, int level) {
    static constexpr std::array harmless = {JWRN_EXTRANEOUS_DATA, JWRN_ADOBE_XFORM, JWRN_JFIF_MAJOR,
                                            JWRN_NOT_SEQUENTIAL, JWRN_BOGUS_ICC};
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
        jpeg_save_markers(&info, JPEG_APP0 + 2, 0xFFFF);
        jpeg_read_header(&info, TRUE);
        return true;
    }

    // The whole profile, in memory of malloc; null when there is none or one of its parts is
    // missing.
    bool read_profile(JOCTET*& profile, unsigned& size) {
        if (setjmp(handler.escape) != 0) return false;
        jpeg_read_icc_profile(&info, &profile, &size);
        return true;
    }

    bool read_pixels(std::uint8_t* out) {
        if (setjmp(handler.escape) != 0) return false;
        info.out_color_space = info.num_components == 4 ? JCS_CMYK : JCS_RGB;
        jpeg_start_decompress(&info);
        const auto row_bytes = std::size_t{info.output_width} * info.output_components;
        while (info.output_scanline < info.output_height) {
            JSAMPROW row = out + row_bytes * info.output_scanline;
            jpeg_read_scanlines(&info, &row, 1);
        }
        jpeg_finish_decompress(&info);
        return true;
    }

    // After read_header and before read_pixels, at whose end libjpeg frees the markers. EXIF may go
    // on in another segment; XMP lies in one as well, and of several the last counts.
    int orientation() const {
        constexpr std::string_view exif_mark("Exif\0\0", 6);
        constexpr std::string_view xmp_mark("http://ns.adobe.com/xap/1.0/\0", 29);
        std::string exif;
        std::string_view xmp;
        for (auto* marker = info.marker_list; marker != nullptr; marker = marker->next) {
            if (marker->marker != JPEG_APP0 + 1) continue;
            const std::string_view data(reinterpret_cast<const char*>(marker->data),
                                        marker->data_length);
            if (data.starts_with(exif_mark)) exif += data.substr(exif_mark.size());
            if (data.starts_with(xmp_mark)) xmp = data.substr(xmp_mark.size());
        }
        return orientation_of(std::as_bytes(std::span(exif)), xmp);
    }

    bool has_profile() const {
        constexpr std::string_view mark("ICC_PROFILE\0", 12);
        for (auto* marker = info.marker_list; marker != nullptr; marker = marker->next) {
            const std::string_view data(reinterpret_cast<const char*>(marker->data),
                                        marker->data_length);
            if (marker->marker == JPEG_APP0 + 2 && data.starts_with(mark)) return true;
        }
        return false;
    }
};

void take_profile(Jpeg& jpeg, DecodedPicture& picture) {
    if (!jpeg.has_profile()) return;
    JOCTET* profile = nullptr;
    unsigned size = 0;
    const bool whole = jpeg.read_profile(profile, size) && profile != nullptr;
    const std::unique_ptr<JOCTET, decltype(&std::free)> held(profile, &std::free);
    if (whole) {
        const auto view = std::as_bytes(std::span(profile, size));
        picture.icc.assign(view.begin(), view.end());
    } else {
        picture.notes.emplace_back(damaged_profile);
    }
}

}  // namespace

DecodedPicture decode_jpeg(std::span<const std::byte> bytes) {
    Jpeg jpeg;
    require_whole(jpeg.read_header(bytes), "a JPEG", jpeg.handler.message.data());
    require_picture_size(jpeg.info.image_width, jpeg.info.image_height);
    const bool inks = jpeg.info.num_components == 4;
    DecodedPicture picture = make_decoded(jpeg.info.image_width, jpeg.info.image_height,
                                          inks ? Samples::cmyk : Samples::rgb);
    picture.grey = jpeg.info.num_components == 1;
    picture.orientation = jpeg.orientation();
    take_profile(jpeg, picture);
    require_whole(jpeg.read_pixels(picture.samples.data()), "a JPEG", jpeg.handler.message.data());
    // Editors store the inks inverted, and readers take them so with Adobe's mark or without.
    if (inks) {
        for (std::uint8_t& ink : picture.samples) ink = static_cast<std::uint8_t>(255 - ink);
    }
    return picture;
}

}  // namespace zoodip
