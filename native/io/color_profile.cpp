#include "io/color_profile.h"

#include <algorithm>
#include <cstdlib>
#include <lcms2.h>
#include <memory>
#include <span>
#include <type_traits>

namespace zoodip {
namespace {

struct CloseProfile {
    void operator()(void* profile) const { cmsCloseProfile(profile); }
};
struct DeleteTransform {
    void operator()(void* transform) const { cmsDeleteTransform(transform); }
};
using Profile = std::unique_ptr<void, CloseProfile>;
using Transform = std::unique_ptr<void, DeleteTransform>;
using Bytes = std::vector<std::uint8_t>;

struct Format {
    cmsUInt32Number in, out;
    cmsUInt32Number flags = 0;
};

Transform make_transform(const Profile& from, const Format& format) {
    const Profile srgb(cmsCreate_sRGBProfile());
    return Transform(cmsCreateTransform(from.get(), format.in, srgb.get(), format.out,
                                        INTENT_PERCEPTUAL, format.flags));
}

// Whether it moves no colour by more than the rounding of its own tables: 1 level.
bool changes_nothing(const Profile& profile) {
    constexpr int points = 17;  // a channel: 0, 15.9, ... 255
    const Transform transform = make_transform(profile, {TYPE_RGB_8, TYPE_RGB_8});
    if (!transform) return false;
    Bytes in;
    for (int i = 0; i < points * points * points; ++i) {
        for (const int step : {i % points, i / points % points, i / (points * points)}) {
            in.push_back(static_cast<std::uint8_t>(step * 255 / (points - 1)));
        }
    }
    for (int level = 0; level < 256; ++level) {
        in.insert(in.end(), 3, static_cast<std::uint8_t>(level));
    }
    Bytes out(in.size());
    cmsDoTransform(transform.get(), in.data(), out.data(),
                   static_cast<cmsUInt32Number>(in.size() / 3));
    return std::equal(in.begin(), in.end(), out.begin(),
                      [](int a, int b) { return std::abs(a - b) <= 1; });
}

void transform_rows(const Transform& transform, DecodedPicture& picture, const std::uint8_t* in,
                    std::uint8_t* out, std::size_t in_channels, std::size_t out_channels) {
    const auto width = static_cast<std::size_t>(picture.width);
    for (std::size_t y = 0; y < static_cast<std::size_t>(picture.height); ++y) {
        cmsDoTransform(transform.get(), in + y * width * in_channels,
                       out + y * width * out_channels, static_cast<cmsUInt32Number>(width));
    }
}

bool convert_inks(const Profile& profile, DecodedPicture& picture) {
    const Transform transform = make_transform(profile, {TYPE_CMYK_8, TYPE_RGB_8});
    if (!transform) return false;
    DecodedPicture rgb = make_decoded(static_cast<std::uint64_t>(picture.width),
                                      static_cast<std::uint64_t>(picture.height), Samples::rgb);
    transform_rows(transform, picture, picture.samples.data(), rgb.samples.data(), 4, 3);
    picture.samples = std::move(rgb.samples);
    picture.layout = Samples::rgb;
    return true;
}

// A grey profile has only 256 inputs.
bool convert_grey(const Profile& profile, DecodedPicture& picture) {
    const Transform transform = make_transform(profile, {TYPE_GRAY_8, TYPE_RGB_8});
    if (!transform) return false;
    std::uint8_t in[256], table[256][3];
    for (int level = 0; level < 256; ++level) in[level] = static_cast<std::uint8_t>(level);
    cmsDoTransform(transform.get(), in, table, 256);
    bool same = true;
    for (int level = 0; level < 256; ++level) same &= std::abs(table[level][1] - level) <= 1;
    if (same) return true;
    const std::size_t channels = picture.layout == Samples::rgba ? 4 : 3;
    for (std::size_t at = 0; at < picture.samples.size(); at += channels) {
        std::copy_n(table[picture.samples[at]], 3, picture.samples.begin() + at);
    }
    return true;
}

bool convert_rgb(const Profile& profile, DecodedPicture& picture) {
    if (changes_nothing(profile)) return true;
    const bool alpha = picture.layout == Samples::rgba;
    const Format format = alpha ? Format{TYPE_RGBA_8, TYPE_RGBA_8, cmsFLAGS_COPY_ALPHA}
                                : Format{TYPE_RGB_8, TYPE_RGB_8};
    const Transform transform = make_transform(profile, format);
    if (!transform) return false;
    const std::size_t channels = alpha ? 4 : 3;
    std::uint8_t* samples = picture.samples.data();
    transform_rows(transform, picture, samples, samples, channels, channels);
    return true;
}

bool convert(const Profile& profile, DecodedPicture& picture) {
    const cmsColorSpaceSignature space = cmsGetColorSpace(profile.get());
    if (space == cmsSigCmykData && picture.layout == Samples::cmyk) {
        return convert_inks(profile, picture);
    }
    if (picture.layout == Samples::cmyk) return false;
    if (space == cmsSigGrayData && picture.grey) return convert_grey(profile, picture);
    return space == cmsSigRgbData && convert_rgb(profile, picture);
}

}  // namespace

void convert_to_srgb(DecodedPicture& picture) {
    if (picture.icc.empty()) return;
    const Profile profile(cmsOpenProfileFromMem(picture.icc.data(),
                                                static_cast<cmsUInt32Number>(picture.icc.size())));
    if (!profile || !convert(profile, picture)) picture.notes.emplace_back(damaged_profile);
}

std::vector<std::byte> profile_of_primaries(const float (&white)[2], const float (&red)[2],
                                            const float (&green)[2], const float (&blue)[2]) {
    const auto point = [](const float(&xy)[2]) { return cmsCIExyY{xy[0], xy[1], 1}; };
    const cmsCIExyY white_point = point(white);
    const cmsCIExyYTRIPLE primaries = {point(red), point(green), point(blue)};
    const cmsFloat64Number srgb[] = {2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045};
    const std::unique_ptr<cmsToneCurve, decltype(&cmsFreeToneCurve)> curve(
        cmsBuildParametricToneCurve(nullptr, 4, srgb), &cmsFreeToneCurve);
    cmsToneCurve* curves[] = {curve.get(), curve.get(), curve.get()};
    const Profile profile(cmsCreateRGBProfile(&white_point, &primaries, curves));
    cmsUInt32Number size = 0;
    if (!profile || !cmsSaveProfileToMem(profile.get(), nullptr, &size)) return {};
    std::vector<std::byte> bytes(size);
    if (!cmsSaveProfileToMem(profile.get(), bytes.data(), &size)) return {};
    return bytes;
}

}  // namespace zoodip
