// The losses of a job's steps: on the disk and back, and thinned for a page.
#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "full_disk.h"
#include "temporary_folder.h"

#include "jobs/curve.h"

namespace zoodip {
namespace {

using nlohmann::json;

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

// Three steps, and the fixed samples before them and after, as ComfyUI's nodes wrote them before
// all jobs were kept alike.
constexpr std::string_view earlier_curve =
    "5a4f4355525645310300000000000000974aed3e000000000000f03f000000000000e03f000000000000e03f"
    "0000000000000040343333333333d33f000000000000f87f0000000000000840000000000000f87f"
    "000000000000d03f";
constexpr std::string_view earlier_validations =
    "5a4f43555256453102000000000000004f328b730000000000000000000000000000f83f000000000000f87f"
    "0000000000000840000000000000f87f000000000000f87f";

std::string bytes_of(std::string_view hexadecimal) {
    std::string bytes;
    for (std::size_t i = 0; i < hexadecimal.size(); i += 2) {
        bytes += static_cast<char>(std::stoi(std::string(hexadecimal.substr(i, 2)), nullptr, 16));
    }
    return bytes;
}

Curve some_curve() {
    Curve curve;
    curve.add_step({1, 0.5, 0.5});
    curve.add_step({2, 0.1 + 0.2, nan});
    curve.add_step({3, nan, 0.25});
    curve.add_validation({0, 1.5});
    curve.add_validation({3, nan});
    return curve;
}

std::string shown(const Curve& curve) {
    return to_json(std::span(curve.steps())).dump() +
           to_json(std::span(curve.validations())).dump();
}

std::vector<std::int64_t> steps_in(const Curve& curve) {
    std::vector<std::int64_t> steps;
    for (const CurvePoint& point : curve.steps()) steps.push_back(point.step);
    return steps;
}

TEST(Curve, ComesBackToTheBit) {
    const TemporaryFolder folder;
    std::mt19937_64 random(7);
    std::uniform_real_distribution<double> any(-1e300, 1e300);
    Curve curve;
    for (std::int64_t step = 0; step < 1000; ++step) {
        const double loss = step % 7 == 0 ? nan : any(random);
        curve.add_step({step * step, loss, any(random)});
        if (step % 9 == 0) curve.add_validation({step, any(random)});
    }
    curve.add_step({(std::int64_t{1} << 53) - 1, 5e-324, -0.0});
    curve.write(folder.path());
    const Curve back = Curve::read(folder.path());
    ASSERT_EQ(back.steps().size(), 1001u);
    ASSERT_EQ(back.validations().size(), curve.validations().size());
    for (std::size_t i = 0; i < back.steps().size(); ++i) {
        const CurvePoint &a = back.steps()[i], &b = curve.steps()[i];
        EXPECT_EQ(a.step, b.step);
        EXPECT_TRUE(a.loss == b.loss || (std::isnan(a.loss) && std::isnan(b.loss)));
        EXPECT_EQ(std::signbit(a.smooth_loss), std::signbit(b.smooth_loss));
        EXPECT_EQ(a.smooth_loss, b.smooth_loss);
    }
    for (std::size_t i = 0; i < back.validations().size(); ++i) {
        EXPECT_EQ(back.validations()[i].step, curve.validations()[i].step);
        EXPECT_EQ(back.validations()[i].loss, curve.validations()[i].loss);
    }
}

TEST(Curve, IsKeptAsEarlierVersionsKeptIt) {
    const TemporaryFolder folder;
    write_text(folder / "curve.bin", bytes_of(earlier_curve));
    write_text(folder / "validations.bin", bytes_of(earlier_validations));
    const Curve curve = Curve::read(folder.path());
    EXPECT_EQ(shown(curve),
              "[[1,0.5,0.5],[2,0.30000000000000004,null],[3,null,0.25]][[0,1.5],[3,null]]");
    some_curve().write(folder.path());
    EXPECT_EQ(read_text(folder / "curve.bin"), bytes_of(earlier_curve));
    EXPECT_EQ(read_text(folder / "validations.bin"), bytes_of(earlier_validations));
}

TEST(Curve, IsEmptyWhereItsFilesAreMissing) {
    const TemporaryFolder folder;
    EXPECT_EQ(shown(Curve::read(folder.path())), "[][]");
    EXPECT_EQ(shown(Curve::read(folder / "no folder")), "[][]");
    Curve().write(folder.path());
    EXPECT_EQ(shown(Curve::read(folder.path())), "[][]");
}

// One flipped bit, wherever it is, and every length but the right one.
TEST(Curve, IsEmptyWhereItsFileIsDamaged) {
    const TemporaryFolder folder;
    some_curve().write(folder.path());
    const std::string whole = read_text(folder / "curve.bin");
    const auto expect_lost = [&](const std::string& bytes) {
        write_text(folder / "curve.bin", bytes);
        const Curve curve = Curve::read(folder.path());
        EXPECT_TRUE(curve.steps().empty()) << bytes.size();
        EXPECT_EQ(curve.validations().size(), 2u);  // the other file is whole
    };
    for (std::size_t i = 0; i < whole.size(); ++i) {
        std::string flipped = whole;
        flipped[i] = static_cast<char>(flipped[i] ^ (1 << (i % 8)));
        expect_lost(flipped);
        expect_lost(whole.substr(0, i));
    }
    expect_lost(whole + 'x');
    expect_lost(whole + std::string(24, '\0'));
    write_text(folder / "curve.bin", whole);
    EXPECT_EQ(Curve::read(folder.path()).steps().size(), 3u);
}

// Whole by its checksum, but no step: written by something else.
TEST(Curve, HasNoStepsThatCannotBe) {
    const TemporaryFolder folder;
    for (const std::int64_t step : {std::int64_t{-1}, std::int64_t{1} << 53}) {
        Curve curve;
        curve.add_step({step, 1, 1});
        curve.write(folder.path());
        EXPECT_TRUE(Curve::read(folder.path()).steps().empty()) << step;
    }
}

TEST(Curve, StaysAsItWasOnAFullDisk) {
    const TemporaryFolder folder;
    some_curve().write(folder.path());
    Curve longer = some_curve();
    for (int step = 4; step < 100; ++step) longer.add_step({step, 1, 1});
    {
        const FullDisk full(200);
        EXPECT_THROW(longer.write(folder.path()), Error);
    }
    EXPECT_EQ(shown(Curve::read(folder.path())), shown(some_curve()));
    EXPECT_EQ(names_in(folder.path()), (std::set<std::string>{"curve.bin", "validations.bin"}));
}

TEST(Curve, HasNullForWhatIsNotFinite) {
    Curve curve;
    curve.add_step({1, infinity, -infinity});
    curve.add_validation({1, infinity});
    EXPECT_TRUE(std::isnan(curve.steps().at(0).loss));
    EXPECT_EQ(shown(curve), "[[1,null,null]][[1,null]]");
}

TEST(Curve, GoesBackToAStepThatIsDoneAgain) {
    Curve curve;
    for (const std::int64_t step : {1, 2, 3, 4}) {
        curve.add_step({step, 1.0, 1.0});
        curve.add_validation({step, 1.0});
    }
    curve.add_step({3, 7.0, 7.0});
    curve.add_validation({3, 7.0});
    EXPECT_EQ(shown(curve), "[[1,1.0,1.0],[2,1.0,1.0],[3,7.0,7.0]][[1,1.0],[2,1.0],[3,7.0]]");
}

TEST(Curve, IsCutBehindAStep) {
    Curve curve;
    for (const std::int64_t step : {1, 2, 3, 4}) {
        curve.add_step({step, 1, 1});
        if (step % 2 == 0) curve.add_validation({step, 1});
    }
    curve.cut(3);
    EXPECT_EQ(steps_in(curve), (std::vector<std::int64_t>{1, 2, 3}));
    EXPECT_EQ(curve.validations().size(), 1u);
    curve.cut(100);
    EXPECT_EQ(curve.steps().size(), 3u);
    curve.cut(0);
    EXPECT_TRUE(curve.steps().empty() && curve.validations().empty());
}

// --- thinned for a page -----------------------------------------------------------------------

std::vector<CurvePoint> points_of(const std::vector<double>& losses) {
    std::vector<CurvePoint> points;
    for (const double loss : losses) {
        points.push_back({static_cast<std::int64_t>(points.size()), loss, loss});
    }
    return points;
}

// The lowest and the highest; nothing without a finite one.
std::vector<double> extremes(const std::vector<double>& losses) {
    std::vector<double> finite;
    std::copy_if(losses.begin(), losses.end(), std::back_inserter(finite),
                 [](double loss) { return std::isfinite(loss); });
    if (finite.empty()) return {};
    const auto [low, high] = std::minmax_element(finite.begin(), finite.end());
    return {*low, *high};
}

TEST(ThinnedCurve, KeepsEndsOrderAndExtremes) {
    std::mt19937 random(3);
    for (int round = 0; round < 3000; ++round) {
        std::vector<double> losses(random() % 81);
        for (double& loss : losses) {
            loss = random() % 4 == 0 ? nan : static_cast<double>(random() % 1000) / 8 - 50;
        }
        const std::size_t most = 4 + random() % 27;
        const json kept = to_json(std::span<const CurvePoint>(points_of(losses)), most);
        ASSERT_LE(kept.size(), most);
        ASSERT_TRUE(losses.size() > most || kept.size() == losses.size());
        std::vector<double> told;
        std::int64_t before = -1;
        for (const json& point : kept) {
            const auto step = point.at(0).get<std::int64_t>();
            ASSERT_GT(step, before);
            before = step;
            const double loss = losses.at(static_cast<std::size_t>(step));
            ASSERT_EQ(point.at(1), std::isfinite(loss) ? json(loss) : json());
            told.push_back(loss);
        }
        if (losses.empty()) continue;
        EXPECT_EQ(kept.front()[0], 0);
        EXPECT_EQ(kept.back()[0], losses.size() - 1);
        EXPECT_EQ(extremes(told), extremes(losses));
    }
}

TEST(ThinnedCurve, ShowsWhereThereWasNoNumber) {
    std::vector<double> losses(5000, 1.0);
    std::fill(losses.begin() + 1001, losses.begin() + 4000, nan);
    std::size_t none = 0;
    for (const json& point : to_json(std::span<const CurvePoint>(points_of(losses)))) {
        none += point[1].is_null();
    }
    EXPECT_GT(none, 200u);
}

TEST(ThinnedCurve, UsesTheRoomItHas) {
    std::vector<double> losses;
    for (int step = 0; step < 30'000; ++step) losses.push_back(std::sin(step));
    const json kept = to_json(std::span<const CurvePoint>(points_of(losses)));
    EXPECT_GT(kept.size(), page_points * 9 / 10);
    EXPECT_LE(kept.size(), page_points);
}

TEST(ThinnedCurve, LosesNoExtremeOfTheFixedSamples) {
    std::vector<ValidationPoint> points;
    for (std::int64_t step = 0; step < 2000; ++step)
        points.push_back({step, step == 777 ? .01 : 1});
    const json kept = to_json(std::span<const ValidationPoint>(points));
    EXPECT_LE(kept.size(), page_validations);
    EXPECT_EQ(kept[0], json({0, 1.0}));
    EXPECT_NE(std::find(kept.begin(), kept.end(), json({777, 0.01})), kept.end());
}

}  // namespace
}  // namespace zoodip
