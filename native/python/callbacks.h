// From the engine's thread back into Python.
#pragma once

#include <exception>
#include <string>
#include <utility>

#include <nlohmann/json.hpp>
#include <torch/csrc/utils/pybind.h>

#include "python/guard.h"

#include "core/cancel.h"
#include "train/personalize.h"
#include "train/run_log.h"

namespace zoodip {

// Calls back into Python with the GIL, and looks for Ctrl-C. What is raised there cancels the work,
// and is raised again at its end.
class Callbacks {
  public:
    explicit Callbacks(CancelToken cancel) : cancel_(std::move(cancel)) {}

    void raise() const {
        if (raised_) std::rethrow_exception(raised_);
    }

    template <class... Arguments>
    void call(const pybind11::object& callback, Arguments... arguments) {
        if (raised_) return;
        const pybind11::gil_scoped_acquire gil;
        try {
            if (PyErr_CheckSignals() != 0) throw pybind11::error_already_set();
            if (!callback.is_none()) callback(arguments...);
        } catch (...) {
            raised_ = std::current_exception();
            cancel_.cancel();
        }
    }

  private:
    CancelToken cancel_;
    std::exception_ptr raised_;
};

// What may be called while a word is learned; None for what nobody wants to hear of.
struct PythonHooks {
    pybind11::object on_stage, on_forecast, on_step;
    pybind11::object on_event = pybind11::none();  // called with JSON
    pybind11::object on_preview = pybind11::none();
    double preview_share = 0;
};

class PythonObserver : public PersonalizeObserver {
  public:
    PythonObserver(PythonHooks hooks, Callbacks& callbacks)
        : hooks_(std::move(hooks)), callbacks_(callbacks) {}

    void on_stage(const std::string& stage) override { callbacks_.call(hooks_.on_stage, stage); }
    void on_forecast(double seconds, std::int64_t steps) override {
        callbacks_.call(hooks_.on_forecast, seconds, steps);
    }
    void on_step(std::int64_t step, std::int64_t steps, double loss, double smooth) override {
        callbacks_.call(hooks_.on_step, step, steps, loss, smooth);
    }
    void on_event(const nlohmann::json& event) override {
        if (!hooks_.on_event.is_none()) callbacks_.call(hooks_.on_event, as_line(event));
    }
    double preview_share() const override { return hooks_.preview_share; }
    void on_preview(std::int64_t step, const at::Tensor& latents) override {
        callbacks_.call(hooks_.on_preview, step, latents);
    }

  private:
    PythonHooks hooks_;
    Callbacks& callbacks_;
};

// run_engine; what a callback raised goes before what the engine made of the cancellation.
template <class Work>
auto run_with(const Callbacks& callbacks, Work&& work) {
    try {
        auto result = run_engine(work);
        callbacks.raise();
        return result;
    } catch (const Cancelled&) {
        callbacks.raise();
        throw;
    }
}

// The result as Python sees it.
inline pybind11::dict to_python(const PersonalizeResult& result) {
    using namespace pybind11::literals;
    return pybind11::dict("token"_a = result.token, "tokens"_a = result.tokens,
                          "steps"_a = result.steps, "word_step"_a = result.word_step,
                          "finished"_a = result.finished, "loss"_a = result.smooth_loss,
                          "forward_passes"_a = result.forward_passes,
                          "backward_passes"_a = result.backward_passes, "best"_a = result.best,
                          "best_step"_a = result.best_step, "best_loss"_a = result.best_loss);
}

template <class Request>
pybind11::dict run_personalize(const Request& request, PythonObserver& observer,
                               const Callbacks& callbacks, const CancelToken& cancel) {
    return to_python(run_with(callbacks, [&] { return personalize(request, observer, cancel); }));
}

}  // namespace zoodip
