// JPEG by libjpeg-turbo.
#include <algorithm>
#include <cstdio>  // jpeglib.h needs FILE
#include <initializer_list>
#include <jerror.h>
#include <jpeglib.h>

#include "core/error.h"
#include "io/orientation.h"
#include "io/picture_codecs.h"

namespace zoodip {
namespace {

// A progressive file of many scans costs a pass over the whole picture for each few bytes.
constexpr int max_scans = 500;

struct Decoder {
    jpeg_decompress_struct info{};
    jpeg_error_mgr errors{};
    jpeg_progress_mgr progress{};
    Escape escape;

    Decoder();
    ~Decoder() { jpeg_destroy_decompress(&info); }
    Decoder(const Decoder&) = delete;
    Decoder& operator=(const Decoder&) = delete;
};

[[noreturn]] void leave(j_common_ptr info) {
    char text[JMSG_LENGTH_MAX];
    info->err->format_message(info, text);
    static_cast<Decoder*>(info->client_data)->escape.leave(text);
}

// libjpeg only warns of damage and goes on with grey. Some oddities of cameras are harmless.
void refuse_damage(j_common_ptr info, int level) {
    const auto harmless = {JWRN_EXTRANEOUS_DATA, JWRN_ADOBE_XFORM, JWRN_JFIF_MAJOR};
    const int code = info->err->msg_code;
    if (level < 0 && std::find(harmless.begin(), harmless.end(), code) == harmless.end()) {
        leave(info);
    }
}

void count_scans(j_common_ptr info) {
    if (reinterpret_cast<j_decompress_ptr>(info)->input_scan_number > max_scans) {
        static_cast<Decoder*>(info->client_data)->escape.leave("it has too many scans");
    }
}

Decoder::Decoder() {
    info.err = jpeg_std_error(&errors);
    info.client_data = this;
    errors.error_exit = leave;
    errors.emit_message = refuse_damage;
    errors.output_message = [](j_common_ptr) {};
    progress.progress_monitor = count_scans;
    const bool created = run_guarded(escape, [this] { jpeg_create_decompress(&info); });
    require(created, "JPEG: the decoder cannot be started: ", escape.message.data());
    info.progress = &progress;
}

int orientation_of(const jpeg_decompress_struct& info) {
    for (auto* marker = info.marker_list; marker != nullptr; marker = marker->next) {
        const auto data = std::as_bytes(std::span(marker->data, marker->data_length));
        static constexpr unsigned char exif[] = {'E', 'x', 'i', 'f', 0, 0};
        const auto start = std::as_bytes(std::span(exif));
        if (data.size() >= start.size() && std::equal(start.begin(), start.end(), data.begin())) {
            return exif_orientation(data);
        }
    }
    return 1;
}

// CMYK is stored inverted by every program that writes it (Adobe's convention): a channel holds the
// share of light that its ink lets through.
void light_through_inks(std::span<const std::uint8_t> cmyk, std::uint8_t* rgb) {
    for (std::size_t i = 0; i < cmyk.size(); i += 4, rgb += 3) {
        for (std::size_t c = 0; c < 3; ++c) {
            rgb[c] = static_cast<std::uint8_t>((cmyk[i + c] * cmyk[i + 3] + 127) / 255);
        }
    }
}

bool read_header(Decoder& decoder, std::span<const std::byte> bytes) {
    return run_guarded(decoder.escape, [&] {
        auto* info = &decoder.info;
        jpeg_mem_src(info, reinterpret_cast<const unsigned char*>(bytes.data()),
                     static_cast<unsigned long>(bytes.size()));
        jpeg_save_markers(info, JPEG_APP0 + 1, 0xFFFF);
        jpeg_read_header(info, TRUE);
    });
}

// The picture's memory is taken by the caller; `row` holds one row of four channels.
bool read_pixels(Decoder& decoder, Picture& picture, std::span<std::uint8_t> row) {
    return run_guarded(decoder.escape, [&] {
        auto* info = &decoder.info;
        jpeg_start_decompress(info);
        const std::size_t stride = 3 * static_cast<std::size_t>(picture.width);
        while (info->output_scanline < info->output_height) {
            std::uint8_t* rgb = picture.rgb.data() + info->output_scanline * stride;
            JSAMPROW target = info->out_color_space == JCS_CMYK ? row.data() : rgb;
            if (jpeg_read_scanlines(info, &target, 1) == 1 && target == row.data()) {
                light_through_inks(row, rgb);
            }
        }
        jpeg_finish_decompress(info);
    });
}

}  // namespace

Picture decode_jpeg(std::span<const std::byte> bytes, const std::string& name,
                    const PictureLimits& limits) {
    Decoder decoder;
    const auto require_whole = [&](bool ok) {
        require(ok, name, ": is a damaged or truncated JPEG (", decoder.escape.message.data(),
                "). Save or download it again");
    };
    require_whole(read_header(decoder, bytes));
    auto& info = decoder.info;
    require_picture_size(info.image_width, info.image_height, name, limits);
    info.out_color_space = info.num_components == 4 ? JCS_CMYK : JCS_RGB;
    Picture picture{static_cast<int>(info.image_width), static_cast<int>(info.image_height), {}};
    picture.rgb.resize(std::size_t{3} * info.image_width * info.image_height);
    std::vector<std::uint8_t> row(std::size_t{4} * info.image_width);
    const int orientation = orientation_of(info);
    require_whole(read_pixels(decoder, picture, row));
    return upright(std::move(picture), orientation);
}

}  // namespace zoodip
