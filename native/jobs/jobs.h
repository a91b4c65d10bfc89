// The trainings of this process and of those before it: accepted, ordered, done one after another
// on each device, and kept.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "core/cancel.h"
#include "jobs/event_log.h"
#include "jobs/job.h"
#include "jobs/job_folders.h"
#include "jobs/place_names.h"
#include "jobs/runner.h"

namespace zoodip {

struct JobLimits {
    std::size_t queued = 16;  // jobs that wait
    std::size_t kept = 100;   // jobs that have ended
    std::chrono::hours kept_for{24 * 30};
    std::chrono::milliseconds step_events{1000};  // between two events of steps
};

// As many wait as may, or the process is ending.
class QueueFull : public Error {
  public:
    using Error::Error;
};

// What was asked of a job cannot be done in its state.
class WrongState : public Error {
  public:
    using Error::Error;
};

class GraphTraining;

// Safe from any thread. Every change that a caller is told of is on the disk before.
class Jobs {
  public:
    // Loads what an earlier process left: what was queued is queued again, what was running goes
    // on. Throws Error when another process holds the folder.
    Jobs(std::filesystem::path folder, std::shared_ptr<Runner> runner, JobLimits limits);
    ~Jobs();
    Jobs(const Jobs&) = delete;
    Jobs& operator=(const Jobs&) = delete;

    // Accepts a training; `files` are what the request's names stand for (images empty: the
    // pictures given here). Throws QueueFull, StorageError, or Error that says why the runner
    // refuses it; nothing is left of it then.
    Job submit(const JobRequest& request, const Training& files,
               std::span<const NewPicture> pictures);

    // Accepts a training that goes on where an ended one was, to so many steps; that one stays as
    // it is. Nothing for an unknown id. Throws WrongState when there is nothing to go on from, and
    // otherwise as submit.
    std::optional<Job> extend(const std::string& id, std::int64_t steps);

    std::vector<Job> list() const;  // newest first
    std::optional<Job> find(const std::string& id) const;
    // How many go before a queued one on its device; nothing for one that does not wait.
    std::optional<std::size_t> position(const std::string& id) const;

    // Nothing for an unknown id. Throws WrongState when it has ended.
    std::optional<Job> stop(const std::string& id);    // keeps the word so far
    std::optional<Job> cancel(const std::string& id);  // keeps nothing
    // false for an unknown id. Throws WrongState while it has not ended, and StorageError.
    bool remove(const std::string& id);

    std::shared_ptr<EventLog> events(const std::string& id) const;  // null for an unknown id
    // The file of the word; nothing while there is none.
    std::optional<std::filesystem::path> token(const std::string& id) const;
    // The picture at a step; nothing when there is none.
    std::optional<std::filesystem::path> preview(const std::string& id, std::int64_t step) const;

    // A training of a graph waits for its turn like any other. Throws StorageError.
    std::unique_ptr<GraphTraining> enter(const JobRequest& request, const std::string& device);

    // Stops what runs, with its state kept so that the next process goes on, and joins the
    // workers; trainings of graphs go on by themselves. Called by the destructor too.
    void shutdown();

    const Runner& runner() const { return *runner_; }
    // The folder of the jobs, which no answer names.
    PlaceNames places() const;

  private:
    friend class GraphTraining;
    struct Entry;
    struct Lane;
    class Reporter;
    using EntryPointer = std::shared_ptr<Entry>;

    void recover();
    using Prepare = std::function<void(const std::filesystem::path& folder)>;
    Job admit(const JobRequest& request, const Training& files,
              std::span<const NewPicture> pictures, const Prepare& prepare);
    EntryPointer accept(Job& job);
    EntryPointer take_in(Job job);
    EntryPointer entry(const std::string& id) const;
    Job change(Entry& entry, const std::function<void(Job&)>& alter, bool must_be_kept = true);
    std::optional<Job> ask(const std::string& id, Wish wish);
    void enqueue(const EntryPointer& entry);
    bool dequeue(const Entry& entry);
    void reserve_place();
    void work(Lane& lane);
    EntryPointer next(Lane& lane);
    void perform(const EntryPointer& entry);
    void train(Entry& entry);
    void give_turn(Entry& entry);
    Training training_of(const Job& job) const;
    PlaceNames places_of(const Job& job) const;
    void end(Entry& entry, JobState state, const std::string& message,
             const std::string& token = {});
    void end_as_wished(Entry& entry, Wish wish);
    void expire();

    const JobLimits limits_;
    const std::shared_ptr<Runner> runner_;
    const JobFolders folders_;

    mutable std::mutex mutex_;  // of all below, and of the entries' jobs; never held over the disk
    std::condition_variable changed_;
    std::map<std::string, EntryPointer> entries_;
    std::map<std::string, std::unique_ptr<Lane>> lanes_;  // by device
    std::uint64_t sequence_ = 0;
    std::size_t reserved_ = 0;  // places in the queue of jobs that are being accepted
    bool closing_ = false;
};

// What a node holds while it waits and trains; it ends as failed unless `end` was called. The Jobs
// must outlive it.
class GraphTraining : public TrainingObserver {
  public:
    GraphTraining(Jobs& jobs, std::shared_ptr<Jobs::Entry> entry);
    ~GraphTraining() override;

    const std::string& id() const;
    // Whether its turn has come, or nobody gives turns any more; waits for it at most so long.
    bool wait(std::chrono::milliseconds time);
    // Set when it is asked to stop.
    const CancelToken& cancel_token() const;
    // What it was asked for.
    Wish wish() const;
    void on_stage(const std::string& stage) override;
    void on_start(std::int64_t step, std::int64_t steps) override;
    void on_step(std::int64_t step, std::int64_t steps, double loss, double smooth_loss) override;
    void on_preview(std::int64_t step) override;
    // A picture of its own: JPEG.
    void preview(std::int64_t step, const std::string& jpeg);
    // The first call counts; the next training's turn comes. token: the file, empty for none.
    void end(JobState state, const std::string& message, const std::filesystem::path& token);

  private:
    Jobs& jobs_;
    std::shared_ptr<Jobs::Entry> entry_;
    std::unique_ptr<Jobs::Reporter> reporter_;
};

}  // namespace zoodip
