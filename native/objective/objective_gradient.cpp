#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>

#include "core/error.h"
#include "objective/objective.h"
#include "ops/gradient.h"

namespace zoodip {

LossGradient Objective::gradient(const at::Tensor&, const Sample&) {
    fail("gradient: ", name(), " has no exact gradient; use `method rge`");
}

LossGradient Objective::mean_gradient(const at::Tensor& theta, const std::vector<Sample>& samples) {
    LossGradient mean;
    const auto count = static_cast<double>(samples.size());
    for (const Sample& sample : samples) {
        const LossGradient one = gradient(theta, sample);
        const at::Tensor part = one.gradient / count;
        mean.loss += one.loss / count;
        mean.gradient = mean.gradient.defined() ? mean.gradient + part : part;
    }
    return mean;
}

LossGradient DiffusionObjective::gradient(const at::Tensor& theta, const Sample& sample) {
    require(
        theta.dim() == 1 && theta.size(0) == layout_.size() && theta.scalar_type() == at::kFloat,
        "gradient: needs a float32 theta of ", layout_.size(), " numbers, got ", theta.toString(),
        " ", concat(theta.sizes()));
    const at::AutoGradMode recording(true);
    const at::Tensor leaf = theta.detach().clone().set_requires_grad(true);
    const at::Tensor loss = losses(leaf.unsqueeze(0), sample)[0];
    return {loss.item<double>(), gradient_of(loss, leaf)};
}

}  // namespace zoodip
