// Messages without the places on the server's disk.
#include <gtest/gtest.h>

#include "jobs/place_names.h"

namespace zoodip {
namespace {

const PlaceNames places = {{"/srv/models", ""},
                           {"/srv/images", ""},
                           {"/srv/images/dog", "dog"},
                           {"/srv/models/a.safetensors", "sub/a.safetensors"},
                           {"/srv/jobs", ""},
                           {"/srv/jobs/.new-12", ""},
                           {"", "nothing"}};

TEST(WithNames, NamesPlaces) {
    EXPECT_EQ(with_names("/srv/images/dog/1.txt: is no text", places), "dog/1.txt: is no text");
    EXPECT_EQ(with_names("/srv/images/dog holds no pictures", places), "dog holds no pictures");
    EXPECT_EQ(with_names("images: /srv/images/dog. Put some there", places),
              "images: dog. Put some there");
    EXPECT_EQ(with_names("cannot open '/srv/models/a.safetensors'", places),
              "cannot open 'sub/a.safetensors'");
    EXPECT_EQ(with_names("/srv/models/b/unet/config.json", places), "b/unet/config.json");
    EXPECT_EQ(with_names("/srv/jobs/.new-12/pictures/001.jpg and /srv/jobs/34/x", places),
              "pictures/001.jpg and 34/x");
    EXPECT_EQ(with_names("cannot make /srv/jobs", places), "cannot make jobs");
}

TEST(WithNames, LeavesOtherPathsAlone) {
    for (const char* message : {"", "all is well", "/srv/images2/1.png", "/srv/models-old",
                                "/srv/jobs.bak/x", "a /srv of it"}) {
        EXPECT_EQ(with_names(message, places), message);
    }
}

}  // namespace
}  // namespace zoodip
