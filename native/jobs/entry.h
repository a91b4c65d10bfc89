// What Jobs holds of each job, and tells of it while it runs. Internal to this folder.
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "jobs/curve.h"
#include "jobs/jobs.h"
#include "jobs/pace.h"

namespace zoodip {

struct Jobs::Entry {
    Job job;             // guarded by Jobs::mutex_
    std::mutex writing;  // one change of the record at a time, so that the disk has the last one
    std::shared_ptr<EventLog> events;
    CancelToken cancel;
    bool is_kept = true;      // on the disk; not before it has a key
    bool is_foreign = false;  // trained by another process: it is only shown here

    // All that follows is guarded by Jobs::mutex_.
    bool has_turn = false, let_go = false;  // of a graph's training
    bool reused = false;                    // by a graph, in this process
    bool gone = false;                      // removed, or shown by another entry from now on
    std::optional<Curve> curve;             // while it runs, or is told of
    std::size_t told = 0;                   // points of the curve that listeners know
    std::chrono::steady_clock::time_point told_at{};
    Pace pace;
    double foretold = std::numeric_limits<double>::quiet_NaN();  // seconds, of all that was left

    std::mutex telling;  // listeners hear one thing after another
};

// The jobs of one device.
struct Jobs::Queue {
    std::deque<EntryPointer> waiting;  // guarded by Jobs::mutex_
    std::thread thread;
};

class Jobs::Reporter : public TrainingObserver {
  public:
    Reporter(Jobs& jobs, EntryPointer entry) : jobs_(jobs), entry_(std::move(entry)) {}

    void on_stage(const std::string& stage) override;
    void on_note(const std::string& text) override;
    void on_start(std::int64_t step, std::int64_t steps) override;
    void on_compute(const std::string& compute, const std::string& choice) override;
    void on_forecast(double seconds_a_step, double seconds_left) override;
    void on_passes(std::int64_t passes) override;
    void on_step(std::int64_t step, std::int64_t steps, double loss, double smooth_loss) override;
    void on_validation(std::int64_t step, double loss, bool best) override;
    void on_preview(std::int64_t step) override;

  private:
    using Time = std::chrono::steady_clock::time_point;
    // Whether so much time has passed since; `since` is now then.
    static bool is_due(Time& since, std::chrono::milliseconds every, bool anyway = false);

    Jobs& jobs_;
    EntryPointer entry_;
    Time written_{}, saved_ = std::chrono::steady_clock::now();
};

Milliseconds now_in_milliseconds();
nlohmann::json state_event(const Job& job);

}  // namespace zoodip
