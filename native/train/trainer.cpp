#include "train/trainer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <utility>

#include <ATen/TensorOperators.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/zeros.h>

#include "core/error.h"

namespace zoodip {
namespace {

constexpr double steps_to_half = 100;  // of the inverse schedule
constexpr const char* what_helps = ". A smaller `learning_rate`, or `compute fp32`, helps";

}  // namespace

double schedule_factor(LearningRateSchedule schedule, std::int64_t step, std::int64_t steps) {
    const double done = static_cast<double>(step) / static_cast<double>(steps);
    if (schedule == LearningRateSchedule::inverse)
        return 1 / (1 + static_cast<double>(step) / steps_to_half);
    if (schedule == LearningRateSchedule::linear) return 1 - done;
    if (schedule == LearningRateSchedule::cosine)
        return 0.5 * (1 + std::cos(std::numbers::pi * done));
    return 1;
}

Trainer::Trainer(const TrainSettings& settings, Objective& objective, Sampling sampling,
                 DirectionSpace space, const at::Tensor& theta)
    : settings_(settings),
      objective_(objective),
      sampling_(std::move(sampling)),
      space_(std::move(space)),
      estimator_(settings.method == exact_gradient ? nullptr
                                                   : settings.method->estimator->make(settings.mu)),
      subspace_(settings.subspace
                    ? std::make_unique<Subspace>(settings.tau, settings.nu, theta.numel())
                    : nullptr),
      adam_(theta.numel(), {.learning_rate = settings.learning_rate, .eps = settings.adam_eps}),
      theta_(theta.to(at::kFloat).clone()),
      average_(at::zeros({theta.numel()}, at::kDouble)) {
    require(space_.size() == theta.numel(), "trainer: directions have ", space_.size(),
            " numbers, the word has ", theta.numel());
}

// The first draws of every range of timesteps, of those that the run will make.
const Activations* Trainer::calibrate() {
    constexpr std::uint64_t draws = 400;
    constexpr int enough = 2;
    if (objective_.activations() == nullptr) return nullptr;
    std::array<int, LayerActivation::bins> seen{};
    std::vector<Sample> samples;
    for (std::uint64_t i = 0; i < draws; ++i) {
        Sample sample = sampling_.draw(i);
        if (seen[LayerActivation::bin_of(static_cast<double>(sample.timestep))]++ < enough) {
            samples.push_back(std::move(sample));
        }
    }
    objective_.calibrate(theta_, samples);
    return objective_.activations();
}

std::vector<Sample> Trainer::draw() const {
    std::vector<Sample> samples;
    for (std::int64_t i = 0; i < settings_.batch; ++i) {
        samples.push_back(sampling_.draw(static_cast<std::uint64_t>(step_ * settings_.batch + i)));
    }
    return samples;
}

StepPoints Trainer::points() const {
    if (is_exact()) return {theta_.unsqueeze(0), {}, draw()};
    std::vector<Sample> samples = draw();
    at::Tensor directions =
        space_.draw(estimator_->directions(settings_.n), static_cast<std::uint64_t>(settings_.seed),
                    static_cast<std::uint64_t>(step_));
    const at::Tensor seen = objective_.seen_by(samples);
    if (seen.defined()) directions = directions * seen;
    const at::Tensor& scale = space_.scale();
    return {estimator_->points(theta_, scale.defined() ? directions * scale : directions),
            directions, std::move(samples)};
}

LossForm Trainer::form() const {
    return settings_.slope == Slope::residual ? LossForm::linearised : LossForm::squared;
}

Evaluation Trainer::sound(const Evaluation& evaluation) const {
    require(std::isfinite(evaluation.loss) && at::isfinite(evaluation.gradient).all().item<bool>(),
            "step ", step_ + 1, ": the loss is not finite", what_helps);
    return evaluation;
}

Evaluation Trainer::evaluation(const StepPoints& points, const at::Tensor& losses) const {
    const double loss = estimator_->loss(losses);
    if (!std::isfinite(loss)) return sound({loss, {}});
    const at::Tensor &scale = space_.scale(), &directions = points.directions;
    return sound(
        {loss, estimator_->estimate(losses, scale.defined() ? directions / scale : directions)});
}

Evaluation Trainer::evaluation(const LossGradient& mean) const {
    return sound({mean.loss, mean.gradient});
}

Evaluation Trainer::evaluate() const {
    const StepPoints step = points();
    if (is_exact()) return evaluation(objective_.mean_gradient(theta_, step.samples));
    return evaluation(step, objective_.mean_losses(step.thetas, step.samples, form()));
}

std::int64_t Trainer::left_out() const {
    const double kept = subspace_ ? space_.rank_without(subspace_->projection())
                                  : static_cast<double>(space_.rank());
    return space_.size() - std::max<std::int64_t>(std::lround(kept), 1);
}

double Trainer::learning_rate() const {
    return settings_.learning_rate *
           schedule_factor(settings_.learning_rate_schedule, step_, settings_.steps);
}

void Trainer::advance(const Evaluation& evaluation) {
    const at::Tensor g = subspace_ ? subspace_->project(evaluation.gradient) : evaluation.gradient;
    ZoAdam adam = adam_;  // its moments are replaced, not written into
    adam.set_learning_rate(learning_rate());
    const at::Tensor moved =
        adam.step(theta_, g, left_out(), settings_.n, /*estimated=*/estimator_ != nullptr);
    require(at::isfinite(moved).all().item<bool>(), "step ", step_ + 1,
            ": the word is no longer finite", what_helps);
    adam_ = std::move(adam);
    theta_ = moved;
    if (subspace_) subspace_->record(theta_);
    ++step_;
    if (step_ > settings_.steps - settings_.average_steps) average_ += theta_;
}

at::Tensor Trainer::word() const {
    const std::int64_t count = step_ - (settings_.steps - settings_.average_steps);
    if (count < 1) return theta_;
    return (average_ / static_cast<double>(count)).to(at::kFloat);
}

RunState Trainer::state() const {
    RunState state;
    state.step = step_;
    state.theta = theta_.clone();
    state.m = adam_.state().m;
    state.v = adam_.state().v;
    state.average = average_.clone();
    if (subspace_) {
        state.buffer = subspace_->state().buffer;
        state.projection = subspace_->state().projection;
    }
    if (const Activations* activations = objective_.activations()) {
        state.activations = activations->save();
    }
    return state;
}

void Trainer::restore(const RunState& state) {
    require(state.theta.sizes() == theta_.sizes() && state.average.sizes() == theta_.sizes(),
            "state: the word has ", state.theta.numel(), " numbers, this model's words have ",
            theta_.numel());
    theta_ = state.theta.clone();
    average_ = state.average.clone();
    adam_.set_state({state.m, state.v, state.step});
    if (subspace_) subspace_->set_state({state.buffer, state.projection});
    if (Activations* activations = objective_.activations())
        activations->restore(state.activations);
    step_ = state.step;
}

}  // namespace zoodip
