#include <algorithm>
#include <cmath>
#include <exception>
#include <utility>

#include "core/clock.h"
#include "core/log.h"
#include "jobs/entry.h"

namespace zoodip {

void Jobs::Reporter::on_stage(const std::string& stage) {
    {
        const std::lock_guard lock(jobs_.mutex_);
        entry_->job.progress.stage =
            entry_->job.stop_request == StopRequest::none ? stage : "stopping";
        entry_->pace.pause();
    }
    entry_->events->append("stage", {{"stage", stage}});
    jobs_.tell(*entry_);
}

void Jobs::Reporter::on_note(const std::string& text) {
    entry_->events->append("note", {{"text", text}});
}

void Jobs::Reporter::on_start(std::int64_t step, std::int64_t steps) {
    const std::lock_guard lock(jobs_.mutex_);
    entry_->job.progress.step = step;
    entry_->job.progress.steps = steps;
}

void Jobs::Reporter::on_compute(const std::string& compute, const std::string& choice) {
    const std::lock_guard lock(jobs_.mutex_);
    entry_->job.progress.compute = compute;
    entry_->job.progress.compute_choice = choice;
}

void Jobs::Reporter::on_forecast(double seconds_a_step, double seconds_left) {
    {
        const std::lock_guard lock(jobs_.mutex_);
        entry_->pace.guess(seconds_a_step);
        entry_->foretold = seconds_left;
    }
    jobs_.tell(*entry_);
}

void Jobs::Reporter::on_passes(std::int64_t passes) {
    const std::lock_guard lock(jobs_.mutex_);
    entry_->job.progress.passes = passes;
}

void Jobs::Reporter::on_step(std::int64_t step, std::int64_t steps, double loss,
                             double smooth_loss) {
    {
        const std::lock_guard lock(jobs_.mutex_);
        JobProgress& progress = entry_->job.progress;
        progress.step = step;
        progress.steps = steps;
        progress.loss = loss;
        progress.smooth_loss = smooth_loss;
        entry_->pace.step(step, seconds_now());
        if (entry_->curve) {
            entry_->curve->add_step({step, loss, smooth_loss});
            // A step that is done again is told again.
            entry_->told = std::min(entry_->told, entry_->curve->steps().size() - 1);
        }
    }
    jobs_.tell_if_due(*entry_);
    if (is_due(saved_, jobs_.limits_.curve_saved)) jobs_.save_progress(*entry_);
    if (!is_due(written_, jobs_.limits_.step_events, step == steps)) return;
    entry_->events->append("step", {{"step", step},
                                    {"steps", steps},
                                    {"loss", number_or_null(loss)},
                                    {"smooth_loss", number_or_null(smooth_loss)}});
}

void Jobs::Reporter::on_validation(std::int64_t step, double loss, bool best) {
    bool first = false;
    {
        const std::lock_guard lock(jobs_.mutex_);
        entry_->pace.pause();
        if (best) entry_->job.progress.best_step = step;
        if (entry_->curve) {
            entry_->curve->add_validation({step, loss});
            first = entry_->curve->validations().size() == 1;  // a curve begins with its first dot
        }
    }
    entry_->events->append("validation",
                           {{"step", step}, {"loss", number_or_null(loss)}, {"best", best}});
    first ? jobs_.tell(*entry_) : jobs_.tell_if_due(*entry_);
}

void Jobs::Reporter::on_preview(std::int64_t step) {
    std::string url;
    {
        const std::lock_guard lock(jobs_.mutex_);
        entry_->pace.pause();
        entry_->job.progress.preview_step = step;
        url = preview_address(entry_->job, step);
    }
    entry_->events->append("preview", {{"step", step}, {"url", url}});
    jobs_.tell_if_due(*entry_);
}

bool Jobs::Reporter::is_due(Time& since, std::chrono::milliseconds every, bool anyway) {
    const auto now = std::chrono::steady_clock::now();
    const bool due = anyway || now - since >= every;
    if (due) since = now;
    return due;
}

// --- what listeners hear ----------------------------------------------------------------------

void Jobs::listen(Listener listener) {
    const std::lock_guard lock(mutex_);
    listener_ = std::move(listener);
}

nlohmann::json Jobs::live_view(const Entry& entry) const {
    nlohmann::json view = to_view(entry.job);
    const auto speed = entry.pace.steps_a_second();
    const JobProgress& progress = entry.job.progress;
    const bool runs = !has_ended(entry.job.state);
    view["reused"] = entry.reused;
    view["speed"] = runs && speed ? number_or_null(*speed) : nlohmann::json();
    view["foretold"] = runs ? number_or_null(entry.foretold) : nlohmann::json();
    const auto left =
        static_cast<double>(std::max<std::int64_t>(progress.steps - progress.step, 0));
    view["seconds_left"] = runs && speed ? number_or_null(left / *speed) : nlohmann::json();
    return view;
}

void Jobs::tell(Entry& entry) {
    const std::lock_guard one_at_a_time(entry.telling);
    Listener listener;
    nlohmann::json view;
    std::size_t first = 0;  // of the points that are told
    {
        const std::lock_guard lock(mutex_);
        if (!listener_) return;
        listener = listener_;
        view = live_view(entry);
        view["points"] = nlohmann::json::array();
        view["validations"] = nlohmann::json::array();
        if (entry.curve) {
            const auto& steps = entry.curve->steps();
            first = std::min(entry.told, steps.size());
            view["points"] = to_json(std::span(steps).subspan(first));
            view["validations"] = to_json(std::span(entry.curve->validations()));
            entry.told = steps.size();
        }
        entry.told_at = std::chrono::steady_clock::now();
    }
    try {
        listener(view);
    } catch (const std::exception& error) {
        log_warning("jobs: a listener fails: ", error.what());
        const std::lock_guard lock(mutex_);
        entry.told = std::min(entry.told, first);
    }
}

void Jobs::tell_if_due(Entry& entry) {
    {
        const std::lock_guard lock(mutex_);
        if (std::chrono::steady_clock::now() - entry.told_at < limits_.told) return;
    }
    tell(entry);
}

}  // namespace zoodip
