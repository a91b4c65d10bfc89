// The loop's inside: one step of zeroth-order training, top to bottom.
//
//   sample = draw(step) -> losses = objective.losses(thetas, sample) -> g = estimate(losses)
//   -> g = subspace.project(g) -> theta = adam.step(theta, g) -> subspace.record(theta)
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "train/dataset.h"
#include "train/objective.h"
#include "train/run_state.h"
#include "train/settings.h"
#include "zo/estimator.h"
#include "zo/subspace.h"
#include "zo/zo_adam.h"

namespace zoodip {

// The forward passes of one step, made before the word moves.
struct Evaluation {
    at::Tensor directions;  // [n, d]
    at::Tensor losses;      // [n + 1]
    double loss() const;    // L(theta), the unperturbed one
};

class Trainer {
  public:
    // theta: float32 [d], the word to start from. The references must outlive the trainer.
    Trainer(const TrainSettings& settings, Objective& objective,
            const std::vector<LatentPicture>& latents, const at::Tensor& theta);

    // Steps done so far.
    std::int64_t step() const { return step_; }
    const at::Tensor& theta() const { return theta_; }

    // The passes of step step() + 1; changes nothing. Throws Cancelled, or Error when a loss is
    // not finite.
    Evaluation evaluate() const;
    // Moves the word.
    void advance(const Evaluation& evaluation);

    RunState state() const;
    void restore(const RunState& state);

  private:
    Sample draw() const;

    TrainSettings settings_;
    Objective& objective_;
    const std::vector<LatentPicture>& latents_;
    std::unique_ptr<Estimator> estimator_;
    std::unique_ptr<Subspace> subspace_;  // null when switched off
    ZoAdam adam_;
    at::Tensor theta_;
    std::int64_t step_ = 0;
};

// Which of `count` pictures step `step` (from 0) takes: each once in every `count` steps, in an
// order shuffled anew.
std::int64_t draw_picture(std::uint64_t seed, std::int64_t step, std::int64_t count);

}  // namespace zoodip
