#include <system_error>
#include <utility>

#include "core/log.h"
#include "io/atomic_file.h"
#include "jobs/entry.h"

namespace zoodip {

namespace fs = std::filesystem;

GraphTraining::GraphTraining(Jobs& jobs, std::shared_ptr<Jobs::Entry> entry)
    : jobs_(jobs),
      entry_(std::move(entry)),
      reporter_(std::make_unique<Jobs::Reporter>(jobs_, *entry_)) {}

GraphTraining::~GraphTraining() {
    try {
        end(JobState::failed, "The graph ended without a word on this training.", {});
    } catch (const std::exception& error) {
        log_warning("jobs: ", error.what());
    }
}

const std::string& GraphTraining::id() const {
    return entry_->job.id;
}

bool GraphTraining::wait(std::chrono::milliseconds time) {
    std::unique_lock lock(jobs_.mutex_);
    return jobs_.changed_.wait_for(lock, time, [&] { return entry_->has_turn || jobs_.closing_; });
}

const CancelToken& GraphTraining::cancel_token() const {
    return entry_->cancel;
}

Wish GraphTraining::wish() const {
    const std::lock_guard lock(jobs_.mutex_);
    return entry_->job.wish;
}

void GraphTraining::on_stage(const std::string& stage) {
    reporter_->on_stage(stage);
}

void GraphTraining::on_start(std::int64_t step, std::int64_t steps) {
    reporter_->on_start(step, steps);
}

void GraphTraining::on_step(std::int64_t step, std::int64_t steps, double loss,
                            double smooth_loss) {
    reporter_->on_step(step, steps, loss, smooth_loss);
}

void GraphTraining::on_preview(std::int64_t step) {
    reporter_->on_preview(step);
}

// Only the latest is kept: a graph draws one whenever there is time.
void GraphTraining::preview(std::int64_t step, const std::string& jpeg) {
    const fs::path file = JobFolders::preview_in(jobs_.folders_.folder(id()), step, ".jpg");
    const auto bytes = std::as_bytes(std::span(jpeg));
    std::error_code ignored;
    fs::remove_all(file.parent_path(), ignored);
    fs::create_directories(file.parent_path(), ignored);
    try {
        write_file_atomic(file, {&bytes, 1});
    } catch (const Error& error) {
        log_warning("jobs: a preview is not kept: ", error.what());
        return;
    }
    on_preview(step);
}

void GraphTraining::end(JobState state, const std::string& message, const fs::path& token) {
    {
        const std::lock_guard lock(jobs_.mutex_);
        if (entry_->let_go) return;
        entry_->let_go = true;
        jobs_.changed_.notify_all();
    }
    jobs_.dequeue(*entry_);
    jobs_.end(*entry_, state, message, token.string());
}

}  // namespace zoodip
