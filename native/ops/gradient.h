// Gradients of what is computed here, for torch's autograd. The forward-only path never gets here:
// a graph is recorded only where grad mode is on and an input asks for a gradient.
#pragma once

#include <functional>
#include <vector>

#include <ATen/core/Tensor.h>

namespace zoodip {

using Tensors = std::vector<at::Tensor>;

// Whether what is computed from this now has to be differentiable in it.
bool tracked(const at::Tensor& x);
bool tracked(const Tensors& inputs);

// dL/dy -> dL/dx, one for each input; undefined for an input that needs none. Runs once, in no-grad
// mode, and must hold nothing that a graph hangs on: no tensor that is tracked, other than
// detached.
using Backward = std::function<Tensors(const at::Tensor& dy)>;

// y = forward(), computed without a graph, with `backward` as its only way back to the inputs.
at::Tensor differentiable(const std::function<at::Tensor()>& forward, const Tensors& inputs,
                          Backward backward);

// y = step(inputs). Of a tracked step only the inputs are kept, and the step is computed again,
// with a graph of its own, when its gradient is asked for: memory for time. What it throws when it
// is computed again (Cancelled) comes out of the caller's backward pass. What `step` refers to must
// outlive that pass.
using Step = std::function<at::Tensor(const Tensors& inputs)>;
at::Tensor recomputed(const Step& step, const Tensors& inputs);

// dy/dx for a scalar y of the graph that leads back to x. Frees the graph.
at::Tensor gradient_of(const at::Tensor& y, const at::Tensor& x);
Tensors gradients_of(const at::Tensor& y, const Tensors& x);  // of each

}  // namespace zoodip
