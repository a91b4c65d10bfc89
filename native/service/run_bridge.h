// From a run of the engine to a job that shows it.
#pragma once

#include <exception>
#include <string>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "jobs/runner.h"
#include "ops/plain_message.h"
#include "train/observer.h"

namespace zoodip {

class RunBridge : public PersonalizeObserver {
  public:
    explicit RunBridge(TrainingObserver& observer) : observer_(observer) {}

    void on_stage(const std::string& stage) override { observer_.on_stage(stage); }
    void on_note(const std::string& text) override { observer_.on_note(text); }
    void on_step(std::int64_t step, std::int64_t steps, double loss, double smooth_loss) override {
        observer_.on_step(step, steps, loss, smooth_loss);
    }
    void on_event(const nlohmann::json& event) override {
        const std::string kind = event["event"];
        const std::int64_t step = event["step"];
        if (kind == "start") {
            const nlohmann::json& run = event["run"];
            observer_.on_compute(run["settings"]["compute"], run.value("compute_choice", ""));
            observer_.on_start(step, event["steps"]);
        } else if (kind == "forecast") {
            observer_.on_forecast(event["seconds_a_step"], event["seconds_left"]);
        } else if (kind == "step") {
            observer_.on_passes(event["forward_passes"].get<std::int64_t>() +
                                event["backward_passes"].get<std::int64_t>());
        } else if (kind == "validation") {
            observer_.on_validation(step, event["loss"], event["best"]);
        } else if (kind == "preview") {
            observer_.on_preview(step);
        }
    }

  private:
    TrainingObserver& observer_;
};

// Torch's errors end in pages of addresses.
template <class Work>
auto with_plain_errors(Work&& work) {
    try {
        return work();
    } catch (const Cancelled&) {
        throw;
    } catch (const Error&) {
        throw;
    } catch (const std::exception& error) {
        throw Error(plain_message(error));
    }
}

// Of what one of several trainings ended with.
inline std::exception_ptr plain(const std::exception_ptr& failure) {
    if (!failure) return failure;
    try {
        with_plain_errors([&] { std::rethrow_exception(failure); });
    } catch (...) {
        return std::current_exception();
    }
    return failure;
}

}  // namespace zoodip
