#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "core/error.h"
#include "io/picture.h"

namespace zoodip {
namespace {

// Every pixel different.
Picture numbered(int width, int height) {
    Picture picture{width, height, {}};
    for (int i = 0; i < width * height; ++i) {
        for (const int value : {3 * i, 255 - 2 * i, 7 * i}) {
            picture.rgb.push_back(static_cast<std::uint8_t>(value));
        }
    }
    return picture;
}

TEST(CropResize, KeepsAPictureOfTheTargetSize) {
    const Picture picture = numbered(9, 6);
    EXPECT_EQ(crop_resize(picture, 9, 6).rgb, picture.rgb);
}

TEST(CropResize, KeepsOneColour) {
    for (const auto& [width, height] : {std::pair{1, 1}, {1, 50}, {37, 2}, {300, 200}}) {
        Picture picture{width, height, {}};
        for (int i = 0; i < width * height; ++i) {
            picture.rgb.insert(picture.rgb.end(), {200, 100, 50});
        }
        const Picture out = crop_resize(picture, 16, 24);
        ASSERT_EQ(out.width, 16);
        ASSERT_EQ(out.height, 24);
        for (std::size_t i = 0; i < out.rgb.size(); ++i) {
            ASSERT_EQ(out.rgb[i], picture.rgb[i % 3]) << width << " x " << height;
        }
    }
}

TEST(CropResize, TakesTheCentre) {
    Picture picture{6, 2, std::vector<std::uint8_t>(36)};
    for (std::size_t i = 0; i < 36; ++i) picture.rgb[i] = static_cast<std::uint8_t>(i / 3 % 6);
    EXPECT_EQ(crop_resize(picture, 2, 2).rgb,
              (std::vector<std::uint8_t>{2, 2, 2, 3, 3, 3, 2, 2, 2, 3, 3, 3}));
}

// The middle of a bicubic between 0, 0, 240, 240: weights -1/16, 9/16, 9/16, -1/16 give 120.
TEST(CropResize, InterpolatesByKeysKernel) {
    Picture picture{8, 4, {}};
    for (int i = 0; i < 32; ++i) {
        const auto value = static_cast<std::uint8_t>(i % 8 < 4 ? 0 : 240);
        picture.rgb.insert(picture.rgb.end(), {value, value, value});
    }
    const Picture out = crop_resize(picture, 24, 12);  // every third pixel falls on a stored one
    for (int x = 0; x < 8; ++x) {
        EXPECT_EQ(out.rgb[static_cast<std::size_t>(3 * (3 * x + 1))], x < 4 ? 0 : 240);
    }
    // At 1/3 of the way: w(1/3) = 1 - 5/2 / 9 + 3/2 / 27 = 0.7778, w(2/3) = 0.3333, w(4/3) =
    // -0.0741, w(5/3) = -0.0370. The step's near side gets 240 * (0.3333 - 0.0370) = 71.1.
    EXPECT_EQ(out.rgb[3 * 11], 71);
    EXPECT_EQ(out.rgb[3 * 12], 240 - 71);
}

TEST(CropResize, RefusesSizesThatAreNone) {
    EXPECT_THROW(crop_resize(numbered(2, 2), 0, 2), Error);
    EXPECT_THROW(crop_resize(numbered(2, 2), 2, -1), Error);
    EXPECT_THROW(crop_resize({}, 2, 2), Error);
    EXPECT_THROW(crop_resize({2, 2, std::vector<std::uint8_t>(11)}, 2, 2), Error);
}

// The crop is one pixel wide and 1/20000 high, in the middle of the step: -1/16, 9/16, 9/16, -1/16
// of 0, 0, 240, 240. A picture of 20000 x 20000 between the passes would be 1.2 GB.
TEST(CropResize, TurnsAColumnIntoARow) {
    Picture column{1, 20000, std::vector<std::uint8_t>(60000, 0)};
    std::fill(column.rgb.begin() + 30000, column.rgb.end(), std::uint8_t{240});
    const Picture row = crop_resize(column, 20000, 1);
    EXPECT_EQ(row.width, 20000);
    EXPECT_EQ(row.rgb, std::vector<std::uint8_t>(60000, 120));
}

// A tall picture's crop starts and ends inside it: turned by 90 degrees it is a wide one's, up to
// the roundings between the passes. Smooth, so that nothing clips: the rounding of a first pass is
// at most 1/2, the weights of the second sum to at most 1.25 in absolute value, its own rounding
// is 1/2: two results differ by less than 2 * (1/2 * 1.25 + 1/2) = 2.25, so by at most 2.
TEST(CropResize, TreatsBothAxesAlike) {
    Picture wide{90, 31, {}}, tall{31, 90, std::vector<std::uint8_t>(3 * 31 * 90)};
    for (int y = 0; y < 31; ++y) {
        for (int x = 0; x < 90; ++x) {
            for (int c = 0; c < 3; ++c) {
                const auto value = static_cast<std::uint8_t>(20 + 2 * x + (c + 1) * y / 2);
                wide.rgb.push_back(value);
                tall.rgb[static_cast<std::size_t>(3 * (x * 31 + y) + c)] = value;
            }
        }
    }
    for (const int size : {7, 31, 64}) {
        const Picture a = crop_resize(wide, size, size), b = crop_resize(tall, size, size);
        for (int y = 0; y < size; ++y) {
            for (int x = 0; x < size; ++x) {
                ASSERT_NEAR(a.rgb[static_cast<std::size_t>(3 * (y * size + x))],
                            b.rgb[static_cast<std::size_t>(3 * (x * size + y))], 2);
            }
        }
    }
}

}  // namespace
}  // namespace zoodip
