#include <algorithm>
#include <cstring>
#include <libheif/heif.h>
#include <memory>

#include "core/error.h"
#include "io/color_profile.h"
#include "io/decoders.h"
#include "io/picture_kind.h"

namespace zoodip {
namespace {

template <auto Free>
struct Release {
    template <class T>
    void operator()(T* thing) const {
        Free(thing);
    }
};
using Context = std::unique_ptr<heif_context, Release<heif_context_free>>;
using Handle = std::unique_ptr<heif_image_handle, Release<heif_image_handle_release>>;
using Image = std::unique_ptr<heif_image, Release<heif_image_release>>;
using Options = std::unique_ptr<heif_decoding_options, Release<heif_decoding_options_free>>;
using Nclx = std::unique_ptr<heif_color_profile_nclx, Release<heif_nclx_color_profile_free>>;

void check(const heif_error& error, const char* kind) {
    if (error.code == heif_error_Ok) return;
    if (error.code == heif_error_Unsupported_filetype ||
        error.code == heif_error_Unsupported_feature) {
        fail("is ", kind, " of a sort that is not read (", error.message,
             "). Save it as JPEG or PNG");
    }
    require_whole(false, kind, error.message);
}

// The codecs of a libheif are packages of their own on newer systems.
void require_codec(const char* kind) {
    const bool avif = std::strcmp(kind, avif_kind) == 0;
    const auto format = avif ? heif_compression_AV1 : heif_compression_HEVC;
    require(heif_have_decoder_for_format(format) != 0, "is ", kind,
            ", and this system's libheif has no decoder for it. Install ",
            avif ? "libheif-plugin-dav1d" : "libheif-plugin-libde265",
            " (Debian, Ubuntu), or save it as JPEG or PNG");
}

Context open_file(std::span<const std::byte> bytes, const char* kind) {
    Context context(heif_context_alloc());
    require(context != nullptr, "libheif has no memory");
    heif_context_set_maximum_image_size_limit(context.get(), static_cast<int>(max_picture_side));
#if LIBHEIF_NUMERIC_VERSION >= 0x01130000
    if (heif_security_limits* limits = heif_context_get_security_limits(context.get())) {
        limits->max_image_size_pixels = max_picture_pixels;
    }
#endif
    check(heif_context_read_from_memory_without_copy(context.get(), bytes.data(), bytes.size(),
                                                     nullptr),
          kind);
    return context;
}

// The four primaries that a file may name by number instead of a profile.
void take_named_colours(const heif_image_handle* handle, DecodedPicture& picture) {
    heif_color_profile_nclx* found = nullptr;
    if (heif_image_handle_get_nclx_color_profile(handle, &found).code != heif_error_Ok) return;
    const Nclx nclx(found);
    if (nclx->transfer_characteristics == heif_transfer_characteristic_ITU_R_BT_2100_0_PQ ||
        nclx->transfer_characteristics == heif_transfer_characteristic_ITU_R_BT_2100_0_HLG) {
        picture.notes.emplace_back(
            "has a high dynamic range; its brightness is taken as it is stored. Save it as a "
            "picture of standard range if it looks pale");
    }
    switch (nclx->color_primaries) {
        case heif_color_primaries_SMPTE_EG_432_1:  // Display P3
        case heif_color_primaries_SMPTE_RP_431_2:
        case heif_color_primaries_ITU_R_BT_2020_2_and_2100_0:
            picture.icc =
                profile_of_primaries({nclx->color_primary_white_x, nclx->color_primary_white_y},
                                     {nclx->color_primary_red_x, nclx->color_primary_red_y},
                                     {nclx->color_primary_green_x, nclx->color_primary_green_y},
                                     {nclx->color_primary_blue_x, nclx->color_primary_blue_y});
            break;
        default:
            break;
    }
}

void take_colours(const heif_image_handle* handle, DecodedPicture& picture) {
    const auto type = heif_image_handle_get_color_profile_type(handle);
    if (type != heif_color_profile_type_rICC && type != heif_color_profile_type_prof) {
        return take_named_colours(handle, picture);
    }
    picture.icc.resize(heif_image_handle_get_raw_color_profile_size(handle));
    const heif_error error = heif_image_handle_get_raw_color_profile(handle, picture.icc.data());
    if (error.code != heif_error_Ok) picture.icc.clear();
}

// Colours that were multiplied with their opacity.
void divide_by_alpha(std::vector<std::uint8_t>& rgba) {
    for (std::size_t at = 0; at < rgba.size(); at += 4) {
        const unsigned alpha = rgba[at + 3];
        for (std::size_t c = 0; c < 3 && alpha > 0; ++c) {
            rgba[at + c] = static_cast<std::uint8_t>(
                std::min(255u, (rgba[at + c] * 255u + alpha / 2) / alpha));
        }
    }
}

Image decode_image(const heif_image_handle* handle, bool alpha, const char* kind) {
    const Options options(heif_decoding_options_alloc());
    require(options != nullptr, "libheif has no memory");
    options->convert_hdr_to_8bit = 1;
    if (options->version >= 3) options->strict_decoding = 1;
    heif_image* image = nullptr;
    check(heif_decode_image(handle, &image, heif_colorspace_RGB,
                            alpha ? heif_chroma_interleaved_RGBA : heif_chroma_interleaved_RGB,
                            options.get()),
          kind);
    return Image(image);
}

}  // namespace

// libheif turns and crops the picture as the file says; EXIF in it only repeats that.
DecodedPicture decode_heif(std::span<const std::byte> bytes) {
    const std::string name = describe_start(bytes);
    const char* kind = name.c_str();
    require_codec(kind);
    const Context context = open_file(bytes, kind);
    heif_image_handle* primary = nullptr;
    check(heif_context_get_primary_image_handle(context.get(), &primary), kind);
    const Handle handle(primary);
    require_picture_size(
        static_cast<std::uint64_t>(std::max(heif_image_handle_get_width(primary), 0)),
        static_cast<std::uint64_t>(std::max(heif_image_handle_get_height(primary), 0)));
    const bool alpha = heif_image_handle_has_alpha_channel(primary) != 0;
    const Image image = decode_image(primary, alpha, kind);
    const int width = heif_image_get_width(image.get(), heif_channel_interleaved);
    const int height = heif_image_get_height(image.get(), heif_channel_interleaved);
    int stride = 0;
    const std::uint8_t* plane =
        heif_image_get_plane_readonly(image.get(), heif_channel_interleaved, &stride);
    const int row = (alpha ? 4 : 3) * width;
    require_whole(plane != nullptr && width > 0 && height > 0 && stride >= row, kind);
    require_picture_size(static_cast<std::uint64_t>(width), static_cast<std::uint64_t>(height));
    DecodedPicture picture =
        make_decoded(static_cast<std::uint64_t>(width), static_cast<std::uint64_t>(height),
                     alpha ? Samples::rgba : Samples::rgb);
    for (int y = 0; y < height; ++y) {
        std::memcpy(&picture.samples[static_cast<std::size_t>(y) * row],
                    plane + static_cast<std::size_t>(y) * stride, static_cast<std::size_t>(row));
    }
    if (alpha && heif_image_handle_is_premultiplied_alpha(primary) != 0) {
        divide_by_alpha(picture.samples);
    }
    take_colours(primary, picture);
    return picture;
}

}  // namespace zoodip
