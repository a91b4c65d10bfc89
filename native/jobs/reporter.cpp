#include "jobs/entry.h"

namespace zoodip {

void Jobs::Reporter::on_stage(const std::string& stage) {
    {
        const std::lock_guard lock(jobs_.mutex_);
        entry_.job.progress.stage = stage;
    }
    entry_.events->append("stage", {{"stage", stage}});
}

void Jobs::Reporter::on_note(const std::string& text) {
    entry_.events->append("note", {{"text", text}});
}

void Jobs::Reporter::on_start(std::int64_t step, std::int64_t steps) {
    const std::lock_guard lock(jobs_.mutex_);
    entry_.job.progress.step = step;
    entry_.job.progress.steps = steps;
}

void Jobs::Reporter::on_step(std::int64_t step, std::int64_t steps, double loss,
                             double smooth_loss) {
    {
        const std::lock_guard lock(jobs_.mutex_);
        JobProgress& progress = entry_.job.progress;
        progress = {progress.stage, step, steps, loss, smooth_loss};
    }
    if (!step_is_due(step == steps)) return;
    entry_.events->append("step", {{"step", step},
                                   {"steps", steps},
                                   {"loss", number_or_null(loss)},
                                   {"smooth_loss", number_or_null(smooth_loss)}});
}

void Jobs::Reporter::on_preview(std::int64_t step) {
    const std::string url = concat("/v1/jobs/", entry_.job.id, "/previews/", step);
    entry_.events->append("preview", {{"step", step}, {"url", url}});
}

bool Jobs::Reporter::step_is_due(bool last) {
    const auto now = std::chrono::steady_clock::now();
    const bool due = last || now - told_ >= jobs_.limits_.step_events;
    if (due) told_ = now;
    return due;
}

}  // namespace zoodip
