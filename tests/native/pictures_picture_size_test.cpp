#include <gtest/gtest.h>

#include "pictures/picture_size.h"

namespace zoodip {
namespace {

TEST(PictureSizes, OfASquareNothingIsCutOff) {
    for (const bool mirrored : {false, true}) {
        EXPECT_EQ(PictureSize::square_of(512, 512, 1024, mirrored),
                  (PictureSize{512, 512, 0, 0, 1024, 1024}));
    }
}

TEST(PictureSizes, TheCutIsToldAtTheTargetsScale) {
    // 3000 x 4000 becomes 768 x 1024, of which 128 go on either side.
    EXPECT_EQ(PictureSize::square_of(3000, 4000, 768, false),
              (PictureSize{3000, 4000, 0, 128, 768, 768}));
    EXPECT_EQ(PictureSize::square_of(4000, 3000, 768, false),
              (PictureSize{4000, 3000, 128, 0, 768, 768}));
}

// 27 wide with 7 over: 3 on the left, 4 on the right.
TEST(PictureSizes, AMirrorImageIsCutOnItsOtherSide) {
    EXPECT_EQ(PictureSize::square_of(10, 13, 100, true).crop_left, 15);
    const PictureSize plain = PictureSize::square_of(20, 27, 20, false);
    const PictureSize mirrored = PictureSize::square_of(20, 27, 20, true);
    EXPECT_EQ(plain.crop_left, 3);
    EXPECT_EQ(mirrored.crop_left, 4);
    EXPECT_EQ(mirrored.crop_top, plain.crop_top);
}

}  // namespace
}  // namespace zoodip
