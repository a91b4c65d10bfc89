// Which picture a draw takes.
#include <map>
#include <vector>

#include <ATen/ops/full.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include "objective/sampling.h"

namespace zoodip {
namespace {

std::vector<LatentPicture> pictures_with(const std::vector<std::int64_t>& repeats) {
    std::vector<LatentPicture> all;
    for (const std::int64_t count : repeats) {
        const at::Tensor mean = at::full({1, 4, 2, 2}, static_cast<double>(all.size()));
        all.push_back({{{mean, at::zeros_like(mean)}, {mean, at::zeros_like(mean)}}});
        all.back().repeats = count;
    }
    return all;
}

std::vector<std::int64_t> drawn(const std::vector<LatentPicture>& pictures, std::uint64_t from,
                                std::uint64_t count) {
    const Sampling sampling(pictures, {Timesteps::uniform, 0, 1000, NoiseSchedule()}, 0.5,
                            /*seed=*/3);
    std::vector<std::int64_t> picked;
    for (std::uint64_t i = from; i < from + count; ++i) picked.push_back(sampling.draw(i).picture);
    return picked;
}

TEST(Sampling, DrawsEveryPictureAsOftenAsItsRepeatsSay) {
    const auto pictures = pictures_with({1, 3, 2});
    for (const std::uint64_t round : {0u, 1u, 7u}) {
        std::map<std::int64_t, int> times;
        for (const std::int64_t picture : drawn(pictures, 6 * round, 6)) ++times[picture];
        EXPECT_EQ(times, (std::map<std::int64_t, int>{{0, 1}, {1, 3}, {2, 2}}));
    }
    EXPECT_NE(drawn(pictures, 0, 36), drawn(pictures, 6, 36));
}

TEST(Sampling, RepeatsAreLikePicturesThatAreThereThatOften) {
    const std::vector<std::int64_t> of_copies = {0, 1, 1, 1, 2, 2};
    std::vector<std::int64_t> expected;
    for (const std::int64_t copy : drawn(pictures_with({1, 1, 1, 1, 1, 1}), 0, 30)) {
        expected.push_back(of_copies[static_cast<std::size_t>(copy)]);
    }
    EXPECT_EQ(drawn(pictures_with({1, 3, 2}), 0, 30), expected);
}

}  // namespace
}  // namespace zoodip
