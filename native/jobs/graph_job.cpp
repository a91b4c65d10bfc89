#include <algorithm>
#include <mutex>
#include <system_error>
#include <utility>
#include <vector>

#include "core/log.h"
#include "io/atomic_file.h"
#include "jobs/entry.h"

namespace zoodip {

namespace fs = std::filesystem;

GraphJob::GraphJob(Jobs& jobs, std::shared_ptr<Jobs::Entry> entry)
    : jobs_(jobs),
      entry_(std::move(entry)),
      reporter_(std::make_unique<Jobs::Reporter>(jobs_, entry_)),
      cancel_(entry_->cancel) {}

GraphJob::~GraphJob() {
    try {
        end(JobState::failed, "The graph ended without a word on this training.");
    } catch (const std::exception& error) {
        log_warning("jobs: ", error.what());
    }
}

Job GraphJob::job() const {
    const std::lock_guard lock(jobs_.mutex_);
    return entry_->job;
}

fs::path GraphJob::folder() const {
    return jobs_.folders_.folder(job().id);
}

const CancelToken& GraphJob::cancel_token() const {
    return cancel_;
}

StopRequest GraphJob::stop_request() const {
    return job().stop_request;
}

std::optional<Job> GraphJob::name(const Named& named) {
    const fs::path folder = jobs_.folders_.folder(named.key);
    const auto require_free = [&](bool free) {
        if (free) return;
        throw WrongState(concat("This training is already running and writes to ", folder.string(),
                                ": wait until it ends, then queue again."));
    };
    // Whether another process trains one that is foreign is for the disk to say.
    const auto is_over = [](const Jobs::Entry& entry) {
        return zoodip::has_ended(entry.job.state) || entry.is_foreign;
    };
    const auto shown = jobs_.entry(named.key);
    // What is being changed of the one before is on the disk when that is read.
    std::unique_lock<std::mutex> no_change_of_shown;
    if (shown != nullptr) {
        {
            const std::lock_guard lock(jobs_.mutex_);
            require_free(is_over(*shown));
        }
        no_change_of_shown = std::unique_lock(shown->writing);
    }
    require_free(!jobs_.folders_.is_in_use(named.key));
    // Of several processes that share the folder another may have trained it since.
    const std::optional<Job> kept = jobs_.folders_.find(named.key);
    jobs_.folders_.make(named.key);
    const auto next = std::make_shared<Jobs::Entry>();
    next->events = std::make_shared<EventLog>(JobFolders::events_in(folder));
    const auto earlier = entry_;
    const Job before = job();
    Job job = kept.value_or(Job{});
    job.id = named.key;
    job.lineage = named.lineage;
    job.origin = "graph";
    job.device = named.device;
    job.request = named.request;
    job.preview_percent = named.preview_percent;
    job.group = named.group;
    if (job.created == 0) job.created = before.created;
    if (!kept) {
        job.sequence = before.sequence;
        job.progress.steps = named.steps;
    }
    job.state = JobState::running;  // here, as it was before it had a key; not yet on the disk
    show_at(job, before.places.back());
    next->job = std::move(job);
    next->cancel = cancel_;
    bool stopped = false;
    {
        const std::lock_guard no_change_of_earlier(earlier->writing);
        const std::lock_guard lock(jobs_.mutex_);
        const auto found = jobs_.entries_.find(named.key);
        require_free(found == jobs_.entries_.end() || is_over(*found->second));
        next->job.stop_request = earlier->job.stop_request;
        earlier->gone = true;
        if (shown != nullptr) shown->gone = true;
        jobs_.entries_.erase(before.id);
        jobs_.entries_[named.key] = next;
        entry_ = next;
        steps_ = named.steps;
        stopped = jobs_.graphs_stopped_;
    }
    earlier->events->close();
    reporter_ = std::make_unique<Jobs::Reporter>(jobs_, entry_);
    if (stopped) jobs_.stop(named.key);  // who stopped them all may have known the earlier id
    return kept;
}

void GraphJob::reuse() {
    Curve curve = Curve::read(folder());
    {
        const std::lock_guard lock(jobs_.mutex_);
        entry_->let_go = entry_->reused = true;
        entry_->curve = std::move(curve);
    }
    const Milliseconds now = now_in_milliseconds();
    jobs_.change(
        *entry_,
        [&](Job& job) {
            job.state = JobState::finished;
            job.used = now;
            job.stop_request = StopRequest::none;
            job.message = "Learned before with the same inputs: taken from the store.";
        },
        /*must_be_kept=*/false);
    entry_->events->close();
    const std::lock_guard lock(jobs_.mutex_);
    entry_->curve.reset();
    jobs_.changed_.notify_all();
}

void GraphJob::prepare(std::int64_t step, const Job* earlier) {
    const fs::path folder = this->folder();
    Curve curve;
    JobProgress progress;
    if (earlier != nullptr) {
        curve = Curve::read(jobs_.folders_.folder(earlier->id));
        curve.cut(step);
        progress = earlier->progress;
        progress.step = step;
        if (progress.best_step && *progress.best_step > step) progress.best_step.reset();
        if (earlier->id != job().id) progress.preview_step.reset();
    }
    if (!curve.steps().empty()) {
        progress.loss = curve.steps().back().loss;
        progress.smooth_loss = curve.steps().back().smooth_loss;
    }
    progress.steps = steps_;
    std::uint64_t sequence = 0;
    {
        const std::lock_guard lock(jobs_.mutex_);
        sequence = ++jobs_.sequence_;
        entry_->curve = std::move(curve);
        entry_->told = 0;
    }
    jobs_.change(*entry_, [&](Job& job) {
        job.state = JobState::queued;
        job.progress = progress;
        job.progress.stage = job.stop_request == StopRequest::none ? "" : "stopping";
        job.started = job.ended = 0;
        job.message.clear();
        job.token.clear();
        job.sequence = sequence;
    });
    if (earlier == nullptr) jobs_.folders_.discard_learned(job().id);
    jobs_.save_curve(*entry_);
}

void GraphJob::queue(const std::vector<GraphJob*>& jobs) {
    std::vector<std::shared_ptr<Jobs::Entry>> entries;
    for (const GraphJob* job : jobs) entries.push_back(job->entry_);
    if (!jobs.empty()) jobs.front()->jobs_.enqueue(entries);
}

void GraphJob::start(std::int64_t step, const Job* earlier) {
    prepare(step, earlier);
    queue({this});
}

bool GraphJob::wait(std::chrono::milliseconds time) {
    std::unique_lock lock(jobs_.mutex_);
    return jobs_.changed_.wait_for(lock, time, [&] { return entry_->has_turn || jobs_.closing_; });
}

void GraphJob::on_stage(const std::string& stage) {
    if (!has_ended()) reporter_->on_stage(stage);
}

void GraphJob::on_note(const std::string& text) {
    if (!has_ended()) reporter_->on_note(text);
}

void GraphJob::on_start(std::int64_t step, std::int64_t steps) {
    if (!has_ended()) reporter_->on_start(step, steps);
}

void GraphJob::on_compute(const std::string& compute, const std::string& choice) {
    if (!has_ended()) reporter_->on_compute(compute, choice);
}

void GraphJob::on_forecast(double seconds_a_step, double seconds_left) {
    if (!has_ended()) reporter_->on_forecast(seconds_a_step, seconds_left);
}

void GraphJob::on_passes(std::int64_t passes) {
    if (!has_ended()) reporter_->on_passes(passes);
}

void GraphJob::on_step(std::int64_t step, std::int64_t steps, double loss, double smooth_loss) {
    if (!has_ended()) reporter_->on_step(step, steps, loss, smooth_loss);
}

void GraphJob::on_validation(std::int64_t step, double loss, bool best) {
    if (!has_ended()) reporter_->on_validation(step, loss, best);
}

void GraphJob::on_preview(std::int64_t step) {
    if (!has_ended()) reporter_->on_preview(step);
}

// Only the latest is kept: a graph draws one whenever there is time. The one before goes once the
// record names this one.
void GraphJob::preview(std::int64_t step, const std::string& jpeg) {
    if (has_ended()) return;
    const fs::path file = JobFolders::preview_in(folder(), step, ".jpg");
    const auto bytes = std::as_bytes(std::span(jpeg));
    std::error_code ignored;
    fs::create_directories(file.parent_path(), ignored);
    try {
        write_file_atomic(file, {&bytes, 1});
    } catch (const Error& error) {
        log_warning("jobs: a preview is not kept: ", error.what());
        return;
    }
    on_preview(step);
    jobs_.save_progress(*entry_);
    std::vector<fs::path> earlier = {folder() / "preview.jpg"};
    for (const auto& entry : fs::directory_iterator(file.parent_path(), ignored)) {
        if (entry.path() != file) earlier.push_back(entry.path());
    }
    for (const fs::path& path : earlier) fs::remove_all(path, ignored);
}

bool GraphJob::has_ended() const {
    const std::lock_guard lock(jobs_.mutex_);
    return entry_->let_go;
}

void GraphJob::best_is(std::int64_t step) {
    const std::lock_guard lock(jobs_.mutex_);
    if (!entry_->let_go) entry_->job.progress.best_step = step;
}

void GraphJob::end(JobState state, const std::string& message, bool keeps_token) {
    std::shared_ptr<Jobs::Entry> ended;
    {
        const std::lock_guard lock(jobs_.mutex_);
        if (entry_->let_go) return;
        ended = entry_;
        ended->let_go = true;
        jobs_.changed_.notify_all();
    }
    jobs_.dequeue(*ended);
    jobs_.end(*ended, state, message, keeps_token);
}

}  // namespace zoodip
