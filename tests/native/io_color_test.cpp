// Colours of profiles, as those of sRGB.
#include <lcms2.h>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "io/color_profile.h"

namespace zoodip {
namespace {

const float d65[2] = {0.3127f, 0.3290f};

DecodedPicture one_pixel(std::vector<std::uint8_t> samples, std::vector<std::byte> icc,
                         Samples layout = Samples::rgb) {
    DecodedPicture picture;
    picture.width = picture.height = 1;
    picture.layout = layout;
    picture.samples = std::move(samples);
    picture.icc = std::move(icc);
    return picture;
}

std::vector<std::byte> saved(cmsHPROFILE profile) {
    cmsUInt32Number size = 0;
    cmsSaveProfileToMem(profile, nullptr, &size);
    std::vector<std::byte> bytes(size);
    cmsSaveProfileToMem(profile, bytes.data(), &size);
    cmsCloseProfile(profile);
    return bytes;
}

std::vector<std::byte> srgb() {
    return profile_of_primaries(d65, {0.64f, 0.33f}, {0.30f, 0.60f}, {0.15f, 0.06f});
}

std::vector<std::byte> display_p3() {
    return profile_of_primaries(d65, {0.680f, 0.320f}, {0.265f, 0.690f}, {0.150f, 0.060f});
}

std::vector<std::byte> grey(double gamma) {
    cmsToneCurve* curve = cmsBuildGamma(nullptr, gamma);
    const auto bytes = saved(cmsCreateGrayProfile(cmsD50_xyY(), curve));
    cmsFreeToneCurve(curve);
    return bytes;
}

TEST(ConvertToSrgb, LeavesSrgbAlone) {
    for (int level = 0; level < 256; level += 5) {
        const auto value = static_cast<std::uint8_t>(level);
        const std::vector<std::uint8_t> samples = {value, static_cast<std::uint8_t>(255 - level),
                                                   7};
        for (const auto& icc : {srgb(), saved(cmsCreate_sRGBProfile()), std::vector<std::byte>()}) {
            DecodedPicture picture = one_pixel(samples, icc);
            convert_to_srgb(picture);
            EXPECT_EQ(picture.samples, samples);
            EXPECT_TRUE(picture.notes.empty());
        }
    }
}

// Red of sRGB is (0.9175, 0.2003, 0.1387) in Display P3 (CSS Color 4, the matrices of 10.2).
TEST(ConvertToSrgb, ConvertsWideColours) {
    DecodedPicture picture = one_pixel({234, 51, 35}, display_p3());
    convert_to_srgb(picture);
    EXPECT_NEAR(picture.samples[0], 255, 1);
    EXPECT_NEAR(picture.samples[1], 0,
                4);  // the curve's beginning: 1 level there is 1/3200 of light
    EXPECT_NEAR(picture.samples[2], 0, 4);
    picture = one_pixel({234, 51, 35, 90}, display_p3(), Samples::rgba);
    convert_to_srgb(picture);
    EXPECT_NEAR(picture.samples[0], 255, 1);
    EXPECT_EQ(picture.samples[3], 90);
}

// A level v of gamma 1 is sRGB's 1.055 v^(1/2.4) - 0.055: 0.735 for 0.5.
TEST(ConvertToSrgb, ConvertsGrey) {
    DecodedPicture picture = one_pixel({128, 128, 128}, grey(1.0));
    picture.grey = true;
    convert_to_srgb(picture);
    for (const int value : picture.samples) EXPECT_NEAR(value, 188, 1);
    EXPECT_TRUE(picture.notes.empty());
}

TEST(ConvertToSrgb, TellsOfProfilesThatDoNotFit) {
    std::vector<std::byte> cut = display_p3();
    cut.resize(cut.size() / 2);
    const std::string text = "no profile";
    const auto view = std::as_bytes(std::span(text));
    for (const auto& icc : {cut, std::vector<std::byte>(view.begin(), view.end()), grey(1.0)}) {
        DecodedPicture picture = one_pixel({200, 30, 60}, icc);
        convert_to_srgb(picture);
        EXPECT_EQ(picture.samples, (std::vector<std::uint8_t>{200, 30, 60}));
        EXPECT_EQ(picture.notes.size(), 1u);
    }
    DecodedPicture inks = one_pixel({1, 2, 3, 4}, display_p3(), Samples::cmyk);
    convert_to_srgb(inks);
    EXPECT_EQ(inks.notes.size(), 1u);
}

}  // namespace
}  // namespace zoodip
