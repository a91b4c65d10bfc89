// Ranks as threads: who computes what, that all get the bits of one process, and that the news of a
// rank that goes no further reaches all.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "ranks/distributed_objective.h"
#include "thread_ranks.h"

#include "core/error.h"
#include "train/run_state.h"
#include "train/trainer.h"

namespace zoodip {
namespace {

using nlohmann::json;

constexpr std::int64_t width = 24;

// Losses that depend on how many rows pass at once, as those of a UNet may.
class Rounding : public Objective {
  public:
    explicit Rounding(std::int64_t chunk) : chunk_(chunk) {}

    at::Tensor losses(const at::Tensor& thetas, const Sample& sample, LossForm form) override {
        const std::int64_t k = thetas.size(0), size = chunk_ == 0 ? k : std::min(k, chunk_);
        rows += (k + size - 1) / size * size;
        const at::Tensor centre = 1 + 0.1 * at::cat({sample.eps, sample.eps}).flatten();
        const at::Tensor off = thetas.to(at::kDouble) - centre.slice(0, 0, width);
        at::Tensor losses = (off * off).mean(1) * (1 + 1e-9 * static_cast<double>(size));
        if (form == LossForm::linearised) losses += 0.25 * losses[0];
        return losses;
    }
    LossGradient gradient(const at::Tensor& theta, const Sample& sample) override {
        const at::Tensor centre = 1 + 0.1 * at::cat({sample.eps, sample.eps}).flatten();
        const at::Tensor off = theta.to(at::kDouble) - centre.slice(0, 0, width);
        return {losses(theta.unsqueeze(0), sample, LossForm::squared)[0].item<double>(),
                (2 * off / off.numel()).to(at::kFloat)};
    }
    std::int64_t rows = 0;

  private:
    std::int64_t chunk_;
};

std::vector<Sample> samples_of(int count) {
    at::manual_seed(3);
    std::vector<Sample> samples;
    for (int i = 0; i < count; ++i) {
        Sample sample;
        sample.eps = at::randn({1, 4, 2, 2});
        samples.push_back(sample);
    }
    return samples;
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
    return a.sizes() == b.sizes() && a.scalar_type() == b.scalar_type() && at::equal(a, b);
}

std::string message_of(const std::exception_ptr& thrown) {
    if (!thrown) return "nothing";
    try {
        std::rethrow_exception(thrown);
    } catch (const Cancelled&) {
        return "cancelled";
    } catch (const std::exception& error) {
        return error.what();
    }
}

void expect_none(const std::vector<std::exception_ptr>& thrown) {
    for (const auto& one : thrown) EXPECT_EQ(message_of(one), "nothing");
}

TEST(Shares, AreAllLossesInTheirOrder) {
    for (const std::int64_t samples : {1, 2, 5}) {
        for (const std::int64_t rows : {1, 3, 9}) {
            for (const std::int64_t chunk : {0, 1, 2, 4, 9, 20}) {
                for (const int ranks : {1, 2, 3, 7, 64}) {
                    std::vector<std::int64_t> seen;
                    for (const auto& own : share_out(samples, rows, chunk, ranks)) {
                        for (const Share& share : own) {
                            for (std::int64_t i = share.begin; i < share.end; ++i) {
                                seen.push_back(share.sample * rows + i);
                            }
                        }
                    }
                    std::vector<std::int64_t> all(static_cast<std::size_t>(samples * rows));
                    for (std::size_t i = 0; i < all.size(); ++i) {
                        all[i] = static_cast<std::int64_t>(i);
                    }
                    EXPECT_EQ(seen, all) << samples << " " << rows << " " << chunk << " " << ranks;
                }
            }
        }
    }
}

TEST(Shares, TheBestChunkLeavesTheBusiestRankTheFewestRows) {
    EXPECT_EQ(best_chunk(1, 9, 0, 1), 9);
    EXPECT_EQ(best_chunk(1, 9, 0, 2), 5);
    EXPECT_EQ(best_chunk(1, 9, 3, 2), 1);  // 5 rows; with 3 or 2 at once 6
    EXPECT_EQ(best_chunk(2, 9, 0, 2), 9);  // a sample each
    EXPECT_EQ(best_chunk(1, 9, 0, 64), 1);
}

class DistributedLosses : public ::testing::TestWithParam<int> {};

TEST_P(DistributedLosses, HaveTheBitsOfOneProcess) {
    const int size = GetParam();
    at::manual_seed(1);
    const at::Tensor thetas = at::randn({9, width});
    for (const int batch : {1, 2, 3}) {
        const std::vector<Sample> samples = samples_of(batch);
        for (const std::int64_t chunk : {0, 1, 2, 4, 5}) {
            for (const LossForm form : {LossForm::squared, LossForm::linearised}) {
                Rounding alone(chunk);
                const at::Tensor expected = alone.mean_losses(thetas, samples, form);
                std::mutex mutex;
                std::int64_t rows = 0, most = 0;
                ThreadRanks ranks(size);
                expect_none(ranks.run([&](Ranks& own) {
                    Rounding inner(chunk);
                    DistributedObjective shared(inner, own, chunk);
                    const at::Tensor losses = shared.mean_losses(thetas, samples, form);
                    const std::lock_guard lock(mutex);
                    EXPECT_TRUE(same_bits(losses, expected)) << own.rank() << " " << chunk;
                    rows += inner.rows;
                    most = std::max(most, inner.rows);
                }));
                if (form == LossForm::linearised) continue;
                EXPECT_EQ(rows, alone.rows);  // none twice
                const std::int64_t pass = chunk == 0 ? 9 : chunk, passes = alone.rows / pass;
                EXPECT_EQ(most, (passes + size - 1) / size * pass);
            }
        }
    }
}

TEST_P(DistributedLosses, GradientsHaveTheBitsOfOneProcess) {
    const int size = GetParam();
    at::manual_seed(2);
    const at::Tensor theta = at::randn({width});
    for (const int batch : {1, 2, 5, 9}) {
        const std::vector<Sample> samples = samples_of(batch);
        Rounding alone(0);
        const LossGradient expected = alone.mean_gradient(theta, samples);
        ThreadRanks ranks(size);
        expect_none(ranks.run([&](Ranks& own) {
            Rounding inner(0);
            DistributedObjective shared(inner, own, 0);
            const LossGradient mean = shared.mean_gradient(theta, samples);
            EXPECT_EQ(mean.loss, expected.loss);
            EXPECT_TRUE(same_bits(mean.gradient, expected.gradient)) << own.rank() << " " << batch;
            // The sum comes once with what is before and once whole, and goes on twice.
            const std::int64_t frames = 2 * (size - 1) * static_cast<std::int64_t>(Ranks::frame);
            EXPECT_LE(own.bytes_of_steps(), frames + 4 * width * 4);
        }));
    }
}

INSTANTIATE_TEST_SUITE_P(Ranks, DistributedLosses, ::testing::Values(1, 2, 3, 4, 7));

TEST(RanksTest, WhatIsLongerThanAFrameComesWhole) {
    ThreadRanks ranks(3);
    expect_none(ranks.run([](Ranks& own) {
        const auto of = [](int rank) {
            return std::string(static_cast<std::size_t>(200 * rank + 7), char('a' + rank));
        };
        const auto all = own.gather(Ranks::Call::step, of(own.rank()));
        for (int rank = 0; rank < 3; ++rank) {
            EXPECT_EQ(all[static_cast<std::size_t>(rank)], of(rank));
        }
        EXPECT_EQ(own.share(own.is_first() ? of(2) : "nobody asks for this"), of(2));
        EXPECT_EQ(own.share({}), "");
    }));
}

TEST(RanksTest, AFailureReachesAllAndNamesTheRank) {
    ThreadRanks ranks(3);
    const auto thrown = ranks.run([](Ranks& own) {
        if (own.rank() == 1) {
            const std::string why = "no memory, " + std::string(300, '.');
            own.leave(Ranks::Departure::failed, why);
            EXPECT_TRUE(own.over());
            throw Error(why);
        }
        own.gather(Ranks::Call::step, "12345678");
    });
    for (const int rank : {0, 2}) {
        const std::string said = message_of(thrown[static_cast<std::size_t>(rank)]);
        EXPECT_EQ(said.find("rank 1 of 3 has failed: no memory, ..."), 0U) << said;
    }
}

TEST(RanksTest, AStopReachesAllAndAFailureGoesBeforeIt) {
    ThreadRanks stopped(3);
    for (const auto& one : stopped.run([](Ranks& own) {
             if (own.rank() == 2) {
                 own.leave(Ranks::Departure::stopped);
                 throw Cancelled();
             }
             own.gather(Ranks::Call::step, "");
         })) {
        EXPECT_EQ(message_of(one), "cancelled");
    }
    ThreadRanks both(2);
    const auto thrown = both.run([](Ranks& own) {
        own.leave(own.is_first() ? Ranks::Departure::stopped : Ranks::Departure::failed, "broken");
    });
    EXPECT_EQ(message_of(thrown[0]), "rank 1 of 2 has failed: broken");
    EXPECT_EQ(message_of(thrown[1]), "nothing");
}

TEST(RanksTest, ARankThatIsGoneEndsTheRunEvenOfOneThatIsStopped) {
    ThreadRanks ranks(2);
    const auto thrown = ranks.run([](Ranks& own) {
        if (own.rank() == 1) return;
        own.leave(Ranks::Departure::stopped);
    });
    EXPECT_EQ(message_of(thrown[0]), "another rank is gone");
}

TEST(RanksTest, AnotherWordAndAnotherPlaceAreFoundOut) {
    ThreadRanks word(3);
    for (const auto& one :
         word.run([](Ranks& own) { own.gather(Ranks::Call::step, "", own.rank() == 2 ? 8 : 7); })) {
        EXPECT_EQ(message_of(one).find("rank 2 of 3 has come to another word than rank 0"), 0U);
    }
    ThreadRanks place(2);
    for (const auto& one : place.run([](Ranks& own) {
             own.gather(own.is_first() ? Ranks::Call::step : Ranks::Call::end, "");
         })) {
        EXPECT_EQ(message_of(one).find("rank 1 of 2 is at another place"), 0U);
    }
}

TEST(RanksTest, WhatDiffersIsNamed) {
    const Facts first = {{"setting mu", "0.01"}, {"picture 1", "a.png 12"}};
    const auto said = [&](const Facts& other) {
        ThreadRanks ranks(3);
        const auto thrown =
            ranks.run([&](Ranks& own) { own.compare(own.rank() == 1 ? other : first); });
        for (const auto& one : thrown) EXPECT_EQ(message_of(one), message_of(thrown.front()));
        const std::string text = message_of(thrown.front());
        return text.substr(0, text.find(". Ranks need"));
    };
    const std::string start = "rank 1 of 3 differs from rank 0: ";
    EXPECT_EQ(said(first), "nothing");
    EXPECT_EQ(said({{"setting mu", "0.1"}, first[1]}), start + "its setting mu is 0.1, not 0.01");
    EXPECT_EQ(said({first[0], {"picture 1", "b.png 3"}}),
              start + "its picture 1 is b.png 3, not a.png 12");
    EXPECT_EQ(said({first[0]}), start + "it tells 1 things of itself, rank 0 2");
    EXPECT_EQ(said({first[0], {"picture", ""}}),
              start + "it has picture where rank 0 has picture 1");
}

TEST(RanksTest, AnObjectiveThatFailsOnOneRankFailsOnAll) {
    class Broken : public Rounding {
      public:
        explicit Broken(std::string why) : Rounding(1), why_(std::move(why)) {}
        at::Tensor losses(const at::Tensor& thetas, const Sample& sample, LossForm form) override {
            if (why_ == "stop") throw Cancelled();
            if (!why_.empty()) throw Error(why_);
            return Rounding::losses(thetas, sample, form);
        }

      private:
        std::string why_;
    };
    for (const std::string why : {"it broke", "stop"}) {
        ThreadRanks ranks(2);
        const auto thrown = ranks.run([&](Ranks& own) {
            Broken inner(own.is_first() ? "" : why);
            DistributedObjective shared(inner, own, 1);
            shared.mean_losses(at::zeros({4, width}), samples_of(1));
        });
        const bool stopped = why == "stop";
        EXPECT_EQ(message_of(thrown[0]),
                  stopped ? "cancelled" : "rank 1 of 2 has failed: it broke");
        EXPECT_EQ(message_of(thrown[1]), stopped ? "cancelled" : "it broke");
    }
}

TEST(RunStateBytes, AreTheStateAgain) {
    SavedRun run;
    run.identity = {{"word", "sks"}};
    run.state.step = 7;
    run.state.watch = {{"smooth", 0.5}};
    run.state.theta = at::randn({width});
    run.state.m = at::randn({width});
    run.state.v = at::randn({width});
    run.state.average = at::randn({width}, at::kDouble);
    run.state.buffer = at::empty({0, width});
    run.state.projection = at::randn({3, width});
    const std::string bytes = to_bytes(run);
    const SavedRun again = from_bytes(bytes);
    EXPECT_EQ(again.identity, run.identity);
    EXPECT_EQ(again.state.step, 7);
    EXPECT_EQ(again.state.watch, run.state.watch);
    EXPECT_TRUE(same_bits(again.state.theta, run.state.theta));
    EXPECT_TRUE(same_bits(again.state.average, run.state.average));
    EXPECT_TRUE(same_bits(again.state.buffer, run.state.buffer));
    EXPECT_TRUE(same_bits(again.state.projection, run.state.projection));
    EXPECT_FALSE(again.state.best.defined());
    for (std::size_t length = 0; length < bytes.size(); length += 41) {
        EXPECT_THROW(from_bytes(bytes.substr(0, length)), Error) << length;
    }
    for (const json& shape : {json{-1}, json{width + 1}, json{1LL << 62, 1LL << 62}}) {
        json changed = json::from_cbor(bytes);
        changed["tensors"]["theta"]["shape"] = shape;
        const auto other = json::to_cbor(changed);
        EXPECT_THROW(from_bytes({other.begin(), other.end()}), Error) << shape;
    }
}

}  // namespace
}  // namespace zoodip
