// What Jobs holds of each job, and tells of it while it runs. Internal to this folder.
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "jobs/jobs.h"

namespace zoodip {

struct Jobs::Entry {
    Job job;             // guarded by Jobs::mutex_
    std::mutex writing;  // one change of the record at a time, so that the disk has the last one
    std::shared_ptr<EventLog> events;
    CancelToken cancel;
    bool has_turn = false, let_go = false;  // of a graph's training, guarded by Jobs::mutex_
};

// The jobs of one device.
struct Jobs::Lane {
    std::deque<EntryPointer> waiting;  // guarded by Jobs::mutex_
    std::thread thread;
};

class Jobs::Reporter : public TrainingObserver {
  public:
    Reporter(Jobs& jobs, Entry& entry) : jobs_(jobs), entry_(entry) {}

    void on_stage(const std::string& stage) override;
    void on_note(const std::string& text) override;
    void on_start(std::int64_t step, std::int64_t steps) override;
    void on_step(std::int64_t step, std::int64_t steps, double loss, double smooth_loss) override;
    void on_preview(std::int64_t step) override;

  private:
    bool step_is_due(bool last);

    Jobs& jobs_;
    Entry& entry_;
    std::chrono::steady_clock::time_point told_{};
};

Milliseconds now_in_milliseconds();
nlohmann::json state_event(const Job& job);

}  // namespace zoodip
