// What every entry from Python into the engine sets up.
#pragma once

#include <exception>

#include <ATen/core/grad_mode.h>
#include <c10/core/InferenceMode.h>
#include <pybind11/pybind11.h>

#include "core/error.h"
#include "objective/engine.h"
#include "ops/plain_message.h"

namespace zoodip {

// Whatever the caller's thread is in, the engine runs outside inference mode and records no graph;
// and where fork() has left the process without its threads, it waits for none.
struct EngineScope {
    c10::InferenceMode inference{false};
    at::NoGradGuard no_grad;
    ThreadCount threads{0};
};

// Runs `work` in an EngineScope without the GIL. What it throws reaches Python as zoodip.Error, in
// a sentence: torch's own errors, and those of a system without memory, too.
template <class Work>
auto run_engine(Work&& work) {
    const pybind11::gil_scoped_release release;
    try {
        const EngineScope scope;
        return work();
    } catch (const Error&) {
        throw;
    } catch (const Cancelled&) {
        throw;
    } catch (const pybind11::error_already_set&) {
        throw;
    } catch (const std::exception& error) {
        throw Error(plain_message(error));
    }
}

}  // namespace zoodip
