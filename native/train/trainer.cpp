#include "train/trainer.h"

#include <cmath>
#include <numeric>
#include <utility>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>

#include "core/error.h"
#include "diffusion/timestep_plan.h"

namespace zoodip {
namespace {

// float32 N(0, 1) of the same shape as `like`, on the CPU.
at::Tensor draw_normal(const at::Tensor& like, std::uint64_t seed, Stream stream,
                       std::uint64_t step) {
    at::Tensor out = at::empty(like.sizes(), at::kFloat);
    RandomBlock(seed, stream, step)
        .fill_normal({out.mutable_data_ptr<float>(), static_cast<std::size_t>(out.numel())});
    return out;
}

}  // namespace

std::int64_t draw_picture(std::uint64_t seed, std::int64_t step, std::int64_t count) {
    const RandomBlock block(seed, Stream::picture, static_cast<std::uint64_t>(step / count));
    std::vector<std::int64_t> order(static_cast<std::size_t>(count));
    std::iota(order.begin(), order.end(), std::int64_t{0});
    for (std::size_t i = order.size(); i > 1; --i) {  // Fisher and Yates
        const auto other = block.integer(0, static_cast<std::int64_t>(i), i);
        std::swap(order[i - 1], order[static_cast<std::size_t>(other)]);
    }
    return order[static_cast<std::size_t>(step % count)];
}

double Evaluation::loss() const {
    return losses[0].item<double>();
}

Trainer::Trainer(const TrainSettings& settings, Objective& objective,
                 const std::vector<LatentPicture>& latents, const at::Tensor& theta)
    : settings_(settings),
      objective_(objective),
      latents_(latents),
      estimator_(std::make_unique<RandomGradientEstimator>(settings.mu)),
      subspace_(settings.subspace
                    ? std::make_unique<Subspace>(settings.tau, settings.nu, theta.numel())
                    : nullptr),
      adam_(theta.numel(), {.learning_rate = settings.learning_rate}),
      theta_(theta.to(at::kFloat).clone()) {
    require(!latents.empty(), "trainer: needs at least one picture");
}

Sample Trainer::draw() const {
    const auto seed = static_cast<std::uint64_t>(settings_.seed);
    const auto step = static_cast<std::uint64_t>(step_);
    Sample sample;
    sample.picture = draw_picture(seed, step_, static_cast<std::int64_t>(latents_.size()));
    sample.mirrored = RandomBlock(seed, Stream::flip, step).uniform(0) < settings_.flip;
    sample.timestep = PartialUniformPlan{settings_.t_lower, settings_.t_upper}.draw(seed, step);
    const Moments& moments =
        latents_[static_cast<std::size_t>(sample.picture)].moments[sample.mirrored ? 1 : 0];
    const at::Tensor noise = draw_normal(moments.mean, seed, Stream::latent, step);
    sample.z = moments.mean + moments.deviation * noise.to(moments.mean.device());
    sample.eps = draw_normal(moments.mean, seed, Stream::noise, step);
    return sample;
}

Evaluation Trainer::evaluate() const {
    Evaluation evaluation;
    evaluation.directions =
        draw_directions(settings_.n, theta_.numel(), static_cast<std::uint64_t>(settings_.seed),
                        static_cast<std::uint64_t>(step_));
    evaluation.losses =
        objective_.losses(estimator_->points(theta_, evaluation.directions), draw());
    require(std::isfinite(evaluation.loss()), "step ", step_ + 1,
            ": the loss is not finite. A smaller --learning-rate, or --compute fp32, helps");
    return evaluation;
}

void Trainer::advance(const Evaluation& evaluation) {
    at::Tensor g = estimator_->estimate(evaluation.losses, evaluation.directions);
    if (subspace_) g = subspace_->project(g);
    theta_ = adam_.step(theta_, g, subspace_ ? subspace_->removed() : 0, settings_.n);
    if (subspace_) subspace_->record(theta_);
    ++step_;
}

RunState Trainer::state() const {
    RunState state{step_, theta_.clone(), adam_.state().m, adam_.state().v};
    if (subspace_) {
        state.buffer = subspace_->state().buffer;
        state.projection = subspace_->state().projection;
    }
    return state;
}

void Trainer::restore(const RunState& state) {
    require(state.theta.sizes() == theta_.sizes(), "state: the word has ", state.theta.numel(),
            " numbers, this model's words have ", theta_.numel());
    theta_ = state.theta.clone();
    adam_.set_state({state.m, state.v, state.step});
    if (subspace_) subspace_->set_state({state.buffer, state.projection});
    step_ = state.step;
}

}  // namespace zoodip
