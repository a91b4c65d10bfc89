#include "ops/gradient.h"

#include <algorithm>
#include <memory>
#include <utility>

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>

namespace zoodip {
namespace {

class BackwardNode : public torch::autograd::Node {
  public:
    BackwardNode(torch::autograd::edge_list&& edges, Backward backward)
        : Node(std::move(edges)), backward_(std::move(backward)) {}

    std::string name() const override { return "zoodip::BackwardNode"; }
    void release_variables() override { backward_ = nullptr; }

  protected:
    Tensors apply(Tensors&& gradients) override {
        if (!gradients.at(0).defined()) return Tensors(num_outputs());
        return backward_(gradients[0]);
    }

  private:
    Backward backward_;
};

// Leaves of a new graph, tracked where the inputs were.
Tensors detach(const Tensors& inputs, const std::vector<bool>& wanted) {
    Tensors leaves;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
        leaves.push_back(inputs[i].detach().set_requires_grad(wanted[i]));
    }
    return leaves;
}

Tensors differentiate(const Step& step, const Tensors& leaves, const at::Tensor& dy) {
    Tensors sought;
    for (const at::Tensor& leaf : leaves) {
        if (leaf.requires_grad()) sought.push_back(leaf);
    }
    const at::AutoGradMode recording(true);
    const at::Tensor y = step(leaves);
    const Tensors found = torch::autograd::grad({y}, sought, {dy});
    Tensors gradients;
    for (std::size_t i = 0, next = 0; i < leaves.size(); ++i) {
        gradients.push_back(leaves[i].requires_grad() ? found[next++] : at::Tensor());
    }
    return gradients;
}

}  // namespace

bool tracked(const at::Tensor& x) {
    return at::GradMode::is_enabled() && x.defined() && x.requires_grad();
}

bool tracked(const Tensors& inputs) {
    return std::any_of(inputs.begin(), inputs.end(), [](const auto& x) { return tracked(x); });
}

at::Tensor differentiable(const std::function<at::Tensor()>& forward, const Tensors& inputs,
                          Backward backward) {
    const at::Tensor y = [&] {
        const at::NoGradGuard no_graph;
        return forward();
    }();
    // The deleter keeps the destruction of a long graph from recursing.
    const std::shared_ptr<BackwardNode> node(
        new BackwardNode(torch::autograd::collect_next_edges(inputs), std::move(backward)),
        torch::autograd::deleteNode);
    torch::autograd::set_history(y, node);
    return y;
}

at::Tensor recomputed(const Step& step, const Tensors& inputs) {
    if (!tracked(inputs)) return step(inputs);
    std::vector<bool> wanted;
    for (const at::Tensor& input : inputs) wanted.push_back(input.requires_grad());
    const Tensors leaves = [&] {
        const at::NoGradGuard no_graph;
        return detach(inputs, wanted);
    }();
    return differentiable(
        [&] { return step(leaves); }, inputs,
        [step, leaves](const at::Tensor& dy) { return differentiate(step, leaves, dy); });
}

at::Tensor gradient_of(const at::Tensor& y, const at::Tensor& x) {
    return gradients_of(y, {x})[0];
}

Tensors gradients_of(const at::Tensor& y, const Tensors& x) {
    return torch::autograd::grad({y}, x);
}

}  // namespace zoodip
