// The loop over a closed-form objective: what it draws, and that a stopped run goes on as if it had
// never stopped.
#include <filesystem>
#include <set>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "train/trainer.h"

namespace zoodip {
namespace {

// L(theta) = |theta - 1|^2 / d + a small number that depends on the sample, so that a wrong draw
// shows.
class Bowl : public Objective {
  public:
    at::Tensor losses(const at::Tensor& thetas, const Sample& sample, LossForm) override {
        samples.push_back(sample);
        rows.push_back(thetas.size(0));
        const at::Tensor off = thetas.to(at::kDouble) - 1;
        return (off * off).mean(1) + 1e-3 * sample.eps.mean().item<double>();
    }
    std::vector<Sample> samples;
    std::vector<std::int64_t> rows;
};

constexpr std::int64_t width = 24;

std::vector<LatentPicture> latents(int count) {
    std::vector<LatentPicture> all;
    for (int i = 0; i < count; ++i) {
        const at::Tensor mean = at::full({1, 4, 2, 2}, static_cast<double>(i));
        all.push_back({{{mean, at::zeros_like(mean)}, {mean + 100, at::zeros_like(mean)}}});
    }
    return all;
}

TrainSettings settings() {
    TrainSettings s;
    s.steps = 60;
    s.tau = 8;
    s.mu = 1e-3;
    s.learning_rate = 0.05;
    s.seed = 3;
    return s;
}

Trainer trainer_of(const TrainSettings& s, Objective& objective,
                   const std::vector<LatentPicture>& pictures) {
    const TimestepPlan plan(s.timesteps, s.t_lower, s.t_upper, NoiseSchedule());
    return {s, objective, Sampling(pictures, plan, s.flip, static_cast<std::uint64_t>(s.seed)),
            DirectionSpace(width), at::zeros({width})};
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
    return a.sizes() == b.sizes() && (a.numel() == 0 || at::equal(a, b));
}

TEST(Trainer, LowersAConvexLoss) {
    Bowl bowl;
    const auto pictures = latents(3);
    TrainSettings s = settings();
    s.steps = 400;
    Trainer trainer = trainer_of(s, bowl, pictures);
    const double before = trainer.evaluate().loss;
    while (trainer.step() < s.steps) trainer.advance(trainer.evaluate());
    EXPECT_LT(trainer.evaluate().loss, 0.5 * before);
}

TEST(Trainer, DrawsEveryPictureOnceARoundAndTimestepsInRange) {
    Bowl bowl;
    const auto pictures = latents(5);
    Trainer trainer = trainer_of(settings(), bowl, pictures);
    while (trainer.step() < 50) trainer.advance(trainer.evaluate());
    std::set<std::vector<std::int64_t>> orders;
    int mirrored = 0;
    for (int round = 0; round < 10; ++round) {
        std::vector<std::int64_t> order;
        for (int i = 0; i < 5; ++i) {
            const Sample& sample = bowl.samples[static_cast<std::size_t>(5 * round + i)];
            order.push_back(sample.picture);
            mirrored += sample.mirrored;
            EXPECT_GE(sample.timestep, 500);
            EXPECT_LT(sample.timestep, 900);
            const double expected =
                static_cast<double>(sample.picture) + (sample.mirrored ? 100 : 0);
            EXPECT_EQ(sample.z.mean().item<double>(), expected);
        }
        EXPECT_EQ(std::set<std::int64_t>(order.begin(), order.end()).size(), 5u);
        orders.insert(order);
    }
    EXPECT_GT(orders.size(), 3u);  // shuffled anew: ten equal orders of 120 do not happen
    EXPECT_GT(mirrored, 5);        // 50 fair draws: P(<= 5) < 1e-8
    EXPECT_LT(mirrored, 45);
}

TEST(Trainer, SharesOneSampleAmongThePassesOfAStep) {
    Bowl bowl;
    const auto pictures = latents(2);
    Trainer trainer = trainer_of(settings(), bowl, pictures);
    trainer.evaluate();
    EXPECT_EQ(bowl.samples.size(), 1u);
    EXPECT_EQ(bowl.rows, std::vector<std::int64_t>{settings().n + 1});
}

TEST(Trainer, AResumedRunHasTheBitsOfTheUnbrokenOne) {
    const auto file = std::filesystem::temp_directory_path() / "zoodip_trainer_test.safetensors";
    const auto pictures = latents(3);
    Bowl bowl;
    Trainer unbroken = trainer_of(settings(), bowl, pictures);
    while (unbroken.step() < 60) unbroken.advance(unbroken.evaluate());
    // Stops before the subspace exists, in the middle of a buffer, and just as it fills.
    for (const std::int64_t stop : {1, 7, 8, 9, 29, 59}) {
        Trainer first = trainer_of(settings(), bowl, pictures);
        while (first.step() < stop) first.advance(first.evaluate());
        save_run(file, {first.state(), {{"run", 1}}});
        Trainer second = trainer_of(settings(), bowl, pictures);
        const SavedRun saved = load_run(file);
        EXPECT_EQ(saved.identity, nlohmann::json({{"run", 1}}));
        second.restore(saved.state);
        while (second.step() < 60) second.advance(second.evaluate());
        EXPECT_TRUE(same_bits(second.theta(), unbroken.theta())) << "stopped at " << stop;
        EXPECT_TRUE(same_bits(second.state().v, unbroken.state().v));
        EXPECT_TRUE(same_bits(second.state().projection, unbroken.state().projection));
    }
    std::filesystem::remove(file);
}

TEST(Trainer, RefusesALossThatIsNotFinite) {
    class Broken : public Objective {
        at::Tensor losses(const at::Tensor& thetas, const Sample&, LossForm) override {
            return at::full({thetas.size(0)}, std::nan(""), at::kDouble);
        }
    } broken;
    const auto pictures = latents(1);
    Trainer trainer = trainer_of(settings(), broken, pictures);
    EXPECT_THROW(trainer.evaluate(), Error);
}

TEST(RunState, NamesTheFirstDifference) {
    const nlohmann::json saved = {{"settings", {{"mu", 0.001}, {"seed", 1}}}, {"word", "sks"}};
    nlohmann::json asked = saved;
    EXPECT_NO_THROW(require_same_run(saved, asked, "run"));
    asked["settings"]["seed"] = 2;
    try {
        require_same_run(saved, asked, "run");
        FAIL() << "accepted";
    } catch (const Error& error) {
        const std::string message = error.what();
        EXPECT_NE(message.find("settings.seed was 1, now 2"), std::string::npos) << message;
    }
}

TEST(Settings, DefaultsFollowWidthAndComputeType) {
    Architecture narrow;
    narrow.text_width = 128;
    narrow.resolution = 128;
    const auto none = nlohmann::json::object();
    EXPECT_EQ(resolve_settings(none).tau, 128);
    EXPECT_EQ(resolve_settings(none, narrow).tau, 21);
    EXPECT_EQ(resolve_settings({{"tau", 40}}, narrow).tau, 40);
    EXPECT_EQ(resolve_settings(none).mu, 1e-3);
    EXPECT_EQ(resolve_settings({{"compute", "bf16"}}).mu, 1e-2);
    EXPECT_EQ(resolve_settings({{"compute", "bf16"}, {"mu", 0.003}}).mu, 0.003);
    EXPECT_EQ(resolve_settings(none).resolution, 512);
    EXPECT_EQ(resolve_settings(none, narrow).resolution, 128);
    EXPECT_EQ(resolve_settings({{"resolution", 256}}, narrow).resolution, 256);
    EXPECT_THROW(resolve_settings({{"t_lower", 900}}), Error);
    EXPECT_EQ(resolve_settings(none).steps, 30000);
    EXPECT_EQ(resolve_settings(none).learning_rate, 5e-3);
    EXPECT_EQ(resolve_settings({{"method", "exact"}}).steps, 1000);
    EXPECT_EQ(resolve_settings({{"preset", "sdxl"}}).t_lower, 700);
    EXPECT_EQ(resolve_settings({{"preset", "sdxl"}, {"t_lower", 600}}).t_lower, 600);
    EXPECT_THROW(resolve_settings({{"mu", 1e-9}}), Error);
    EXPECT_THROW(resolve_settings({{"tau", 1}}), Error);
    EXPECT_THROW(resolve_settings({{"resolution", 56}}), Error);
    EXPECT_THROW(resolve_settings({{"n", 0}}), Error);
}

}  // namespace
}  // namespace zoodip
