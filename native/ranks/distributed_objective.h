// An objective whose losses are computed by several ranks, each some rows of some samples.
//
// Every rank holds the same points and samples, drawn from the same numbers, and tells its losses
// alone: 8 bytes each. What comes out has the same bits on all ranks, and the bits that the inner
// objective gives in one process with the same chunk: a row has the same loss beside any
// neighbours, and sums are taken in the order of samples.
#pragma once

#include <cstdint>
#include <vector>

#include "ranks/ranks.h"
#include "ranks/shares.h"

#include "objective/objective.h"

namespace zoodip {

class DistributedObjective : public Objective {
  public:
    // chunk: the inner objective's. Both must outlive this. Each rank calls the same functions with
    // equal arguments; beside what the inner objective throws they throw what Ranks::gather does.
    DistributedObjective(Objective& inner, Ranks& ranks, std::int64_t chunk);

    at::Tensor losses(const at::Tensor& thetas, const Sample& sample,
                      LossForm form = LossForm::squared) override;
    at::Tensor mean_losses(const at::Tensor& thetas, const std::vector<Sample>& samples,
                           LossForm form = LossForm::squared) override;

    // One sample is differentiated by one rank. The gradients' sum goes from rank to rank, each
    // adds its own, and once more around: 8 d bytes for a rank, however many ranks and samples.
    LossGradient gradient(const at::Tensor& theta, const Sample& sample) override;
    LossGradient mean_gradient(const at::Tensor& theta,
                               const std::vector<Sample>& samples) override;

    at::Tensor seen_by(const std::vector<Sample>& samples) const override {
        return inner_.seen_by(samples);
    }
    // On each rank by itself: all find the same.
    void calibrate(const at::Tensor& theta, const std::vector<Sample>& samples) override;
    Activations* activations() override { return inner_.activations(); }
    std::string name() const override { return inner_.name(); }

  private:
    at::Tensor losses_of(const Share& share, const at::Tensor& thetas, const Sample& sample,
                         LossForm form);
    // The sum of all ranks' parts, float32 [d] each. any_before: whether a lower rank has some.
    at::Tensor sum_in_order(const std::vector<at::Tensor>& own, bool any_before, std::int64_t d);

    Objective& inner_;
    Ranks& ranks_;
    std::int64_t chunk_;
};

}  // namespace zoodip
