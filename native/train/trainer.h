// The loop's inside: one step of training, top to bottom.
//
//   samples = sampling.draw -> losses = objective.mean_losses(thetas, samples)
//   -> g = estimate(losses) -> g = subspace.project(g) -> theta = adam.step(theta, g) ->
//   subspace.record(theta)
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "objective/dataset.h"
#include "objective/objective.h"
#include "objective/sampling.h"
#include "settings/settings.h"
#include "train/run_state.h"
#include "zo/directions.h"
#include "zo/estimator.h"
#include "zo/subspace.h"
#include "zo/zo_adam.h"

namespace zoodip {

// What the passes of one step are made for.
struct StepPoints {
    at::Tensor thetas;            // float32 [k, d]: for the exact gradient the word alone
    at::Tensor directions;        // of an estimate
    std::vector<Sample> samples;  // of its batch
};

// What the passes of one step tell, made before the word moves.
struct Evaluation {
    double loss = 0;      // L(theta), the mean over the batch
    at::Tensor gradient;  // estimated or exact, float32 [d]
};

class Trainer {
  public:
    // settings: resolved. space: where directions lie, of theta's size. theta: float32 [d], the
    // word to start from. The references must outlive the trainer.
    Trainer(const TrainSettings& settings, Objective& objective, Sampling sampling,
            DirectionSpace space, const at::Tensor& theta);

    // Steps done so far.
    std::int64_t step() const { return step_; }
    const at::Tensor& theta() const { return theta_; }
    // The result as of now: theta, or the mean over the last average_steps of the run once they
    // have begun. float32 [d].
    at::Tensor word() const;

    // Before the first step, unless a state is restored: the static scales of integer activations,
    // from draws of the run. nullptr where there are none. Throws Cancelled.
    const Activations* calibrate();

    // The passes of step step() + 1; changes nothing. Throws Cancelled, or Error when a loss is
    // not finite.
    Evaluation evaluate() const;
    // The same in two halves, for passes that several trainers share: what they are to be made for,
    // and what is taken of them: mean_losses() of the points, or mean_gradient() of the word.
    StepPoints points() const;
    LossForm form() const;
    Evaluation evaluation(const StepPoints& points, const at::Tensor& losses) const;
    Evaluation evaluation(const LossGradient& mean) const;
    bool is_exact() const { return estimator_ == nullptr; }
    // Moves the word. Throws Error, and moves nothing, where it would not stay finite.
    void advance(const Evaluation& evaluation);
    // Of the next step.
    double learning_rate() const;

    // The trainer's part of a run's state.
    RunState state() const;
    void restore(const RunState& state);

  private:
    Evaluation sound(const Evaluation& evaluation) const;
    // Of the next step.
    std::vector<Sample> draw() const;
    // Dimensions that an estimate cannot have: those outside of the directions, and P's within.
    std::int64_t left_out() const;

    TrainSettings settings_;
    Objective& objective_;
    Sampling sampling_;
    DirectionSpace space_;
    std::unique_ptr<Estimator> estimator_;  // null for the exact gradient
    std::unique_ptr<Subspace> subspace_;    // null when switched off
    ZoAdam adam_;
    at::Tensor theta_;
    at::Tensor average_;  // float64 [d], the sum of the words so far averaged
    std::int64_t step_ = 0;
};

// The part of the learning rate that is left at `step` (from 0) of `steps`.
double schedule_factor(LearningRateSchedule schedule, std::int64_t step, std::int64_t steps);

}  // namespace zoodip
