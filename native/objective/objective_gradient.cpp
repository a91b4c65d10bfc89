#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>

#include "core/error.h"
#include "objective/objective.h"
#include "ops/gradient.h"

namespace zoodip {

LossGradient Objective::gradient(const at::Tensor&, const Sample&) {
    fail("gradient: ", name(), " has no exact gradient; use `method rge`");
}

LossGradient mean_in_order(const std::vector<LossGradient>& gradients) {
    LossGradient mean;
    const auto count = static_cast<double>(gradients.size());
    for (const LossGradient& one : gradients) {
        const at::Tensor part = one.gradient / count;
        mean.loss += one.loss / count;
        mean.gradient = mean.gradient.defined() ? mean.gradient + part : part;
    }
    return mean;
}

LossGradient Objective::mean_gradient(const at::Tensor& theta, const std::vector<Sample>& samples) {
    std::vector<LossGradient> all;
    for (const Sample& sample : samples) all.push_back(gradient(theta, sample));
    return mean_in_order(all);
}

LossGradient DiffusionObjective::gradient(const at::Tensor& theta, const Sample& sample) {
    require(
        theta.dim() == 1 && theta.size(0) == layout_.size() && theta.scalar_type() == at::kFloat,
        "gradient: needs a float32 theta of ", layout_.size(), " numbers, got ", theta.toString(),
        " ", concat(theta.sizes()));
    return gradients_together({{this, theta.unsqueeze(0), &sample}}).front();
}

std::vector<LossGradient> DiffusionObjective::gradients_together(const std::vector<Asked>& asked) {
    const at::AutoGradMode recording(true);
    std::vector<Asked> tracked = asked;
    Tensors leaves;
    for (Asked& one : tracked) {
        leaves.push_back(one.thetas.detach().clone().set_requires_grad(true));
        one.thetas = leaves.back();
    }
    const std::vector<at::Tensor> losses = losses_together(tracked, LossForm::squared);
    // No loss depends on another's word: the sum's gradient in it is its own.
    at::Tensor sum = losses.front()[0];
    for (std::size_t i = 1; i < losses.size(); ++i) sum = sum + losses[i][0];
    const Tensors gradients = gradients_of(sum, leaves);
    std::vector<LossGradient> all;
    for (std::size_t i = 0; i < asked.size(); ++i) {
        all.push_back({losses[i][0].item<double>(), gradients[i][0]});
    }
    return all;
}

}  // namespace zoodip
