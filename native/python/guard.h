// What every entry from Python into the engine sets up.
#pragma once

#include <ATen/core/grad_mode.h>
#include <c10/core/InferenceMode.h>
#include <pybind11/pybind11.h>

namespace zoodip {

// Whatever the caller's thread is in, the engine runs outside inference mode and records no graph.
struct EngineScope {
    c10::InferenceMode inference{false};
    at::NoGradGuard no_grad;
};

// Runs `work` in an EngineScope without the GIL.
template <class Work>
auto run_engine(Work&& work) {
    const pybind11::gil_scoped_release release;
    const EngineScope scope;
    return work();
}

}  // namespace zoodip
