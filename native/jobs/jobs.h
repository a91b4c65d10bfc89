// The trainings of this process and of those before it: accepted, ordered, done one after another
// on each device, and kept.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
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
#include "jobs/curve.h"
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
    std::uint64_t kept_bytes = 0;  // of all jobs, unless the folder says otherwise; 0: no limit
    std::chrono::milliseconds step_events{1000};    // between two events of steps
    std::chrono::milliseconds told{250};            // between two calls of a listener
    std::chrono::milliseconds curve_saved{30'000};  // which a killed process leaves behind
};

// What is kept, and how much may be.
struct JobStore {
    std::size_t jobs = 0;
    std::uint64_t bytes = 0, limit = 0;  // limit 0: none
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

class GraphJob;

// Safe from any thread. Every change that a caller is told of is on the disk before.
class Jobs {
  public:
    // Loads what an earlier process left: what was queued is queued again, what was running goes
    // on. Throws Error when another process holds the folder.
    Jobs(std::filesystem::path folder, std::shared_ptr<Runner> runner, JobLimits limits,
         JobFolders::Sharing sharing = JobFolders::Sharing::alone);
    ~Jobs();
    Jobs(const Jobs&) = delete;
    Jobs& operator=(const Jobs&) = delete;

    // Accepts a training; `files` are what the request's names stand for (images empty: the
    // pictures given here). Throws QueueFull, StorageError, or Error that says why the runner
    // refuses it; nothing is left of it then.
    Job submit(const JobRequest& request, const JobTask& files,
               std::span<const NewPicture> pictures);

    // One of several trainings that are done together, over one copy of the model.
    struct Subject {
        JobRequest request;
        JobTask files;
    };
    // Accepts all of them as one group, or throws as submit and leaves none. They have one model
    // and equal settings; images are folders.
    std::vector<Job> submit_together(const std::vector<Subject>& subjects);

    // Accepts a training that goes on where an ended one was, to so many steps; that one stays as
    // it is. Nothing for an unknown id. Throws WrongState when there is nothing to go on from, and
    // otherwise as submit.
    std::optional<Job> extend(const std::string& id, std::int64_t steps);

    std::vector<Job> list() const;  // newest first
    std::optional<Job> find(const std::string& id) const;
    // As the API shows it, with its place in the queue and its pace; nothing for an unknown id.
    std::optional<nlohmann::json> view(const std::string& id) const;
    // The same, with "points" and "validations", thinned for a page.
    std::optional<nlohmann::json> view_with_curve(const std::string& id) const;
    // All steps' losses; a loss that was not finite is NaN.
    Curve curve(const std::string& id) const;
    // How many go before a queued one on its device; nothing for one that does not wait.
    std::optional<std::size_t> position(const std::string& id) const;

    // Nothing for an unknown id. Throws WrongState when it has ended.
    std::optional<Job> stop(const std::string& id);    // keeps the word so far
    std::optional<Job> cancel(const std::string& id);  // keeps nothing
    // false for an unknown id. Throws WrongState while it has not ended, and StorageError.
    bool remove(const std::string& id);

    std::shared_ptr<EventLog> events(const std::string& id) const;  // null for an unknown id
    // The file of the word; nothing while there is none.
    // word: which of several; empty for the first one's.
    std::optional<std::filesystem::path> token(const std::string& id,
                                               const std::string& word = {}) const;
    // The picture at a step; nothing when there is none.
    std::optional<std::filesystem::path> preview(const std::string& id, std::int64_t step) const;

    JobStore store() const;
    // For good; drops what is over it. Throws StorageError, and Error for a limit out of range.
    void set_store_limit(std::uint64_t megabytes);
    // Forgets every job that has ended. Throws StorageError for those that the disk does not let
    // go.
    void clear();

    // Called with a job's view, its curve's points since the last call and its validations: a few
    // times a second while it runs, and whenever its state or stage changes. From any thread. It
    // must not change a job; what it throws ends nothing, and it gets those points again.
    using Listener = std::function<void(const nlohmann::json& view)>;
    void listen(Listener listener);

    // A node of a graph begins: it is shown in place of what the node showed before, and kept once
    // it has a key.
    std::unique_ptr<GraphJob> begin(const JobPlace& place, const std::string& word,
                                    std::int64_t steps);
    // What a node shows; nothing where it shows none.
    std::optional<Job> shown_at(const std::string& workflow, const std::string& node) const;
    // Makes a node show a job. Nothing for an unknown id. Throws StorageError, and what another
    // process trains is shown for as long as this one lives.
    std::optional<Job> show(const std::string& id, const JobPlace& place);
    // A job as the disk has it now, which another process may have changed; nothing without one.
    std::optional<Job> kept(const std::string& id) const { return folders_.find(id); }
    // Where the token of a job is or will be.
    std::filesystem::path token_in(const std::string& id) const {
        return JobFolders::token_in(folders_.folder(id));
    }
    // The ended ones of a lineage.
    std::vector<Job> of_lineage(const std::string& lineage) const;
    // Stops the jobs of graphs, keeps what they learned, and waits until they have ended, at most
    // so long; says whether all have. One that begins later is stopped at once.
    bool stop_graphs(std::chrono::milliseconds time);

    // Stops what runs, with its state kept so that the next process goes on, and joins the
    // workers; jobs of graphs go on by themselves. Called by the destructor too.
    void shutdown();

    const Runner& runner() const { return *runner_; }
    // The folder of the jobs, which no answer names.
    PlaceNames places() const;

  private:
    friend class GraphJob;
    struct Entry;
    struct Queue;
    class Reporter;
    using EntryPointer = std::shared_ptr<Entry>;

    void recover();
    using Prepare = std::function<void(const std::filesystem::path& folder)>;
    Job admit(const JobRequest& request, const JobTask& files, std::span<const NewPicture> pictures,
              const Prepare& prepare);
    struct Staged;
    Staged stage(const JobRequest& request, const JobTask& files,
                 std::span<const NewPicture> pictures);
    EntryPointer accept(Job& job);
    void forget(Entry& entry);
    EntryPointer take_in(Job job, bool foreign = false);
    EntryPointer entry(const std::string& id) const;
    std::optional<Job> change(Entry& entry, const std::function<void(Job&)>& alter,
                              bool must_be_kept = true);
    std::optional<Job> ask(const std::string& id, StopRequest stop_request);
    void enqueue(const std::vector<EntryPointer>& entries);
    bool dequeue(const Entry& entry);
    std::shared_ptr<void> reserve_places(std::size_t count = 1);
    void work(Queue& queue);
    using Group = std::vector<EntryPointer>;  // done together; most often one
    Group next(Queue& queue);
    void perform(const Group& group);
    bool mark_running(Entry& entry);
    void train(const EntryPointer& entry);
    void train_together(const Group& group);
    void load_curve(Entry& entry);
    void conclude(Entry& entry, const TrainingResult& result, const std::exception_ptr& failure);
    void give_turn(const Group& group);
    JobTask training_of(const Job& job) const;
    static std::vector<JobWord> further_words(const JobRequest& request,
                                              const std::filesystem::path& folder);
    PlaceNames places_of(const Job& job) const;
    // The word in its folder is handed out where keeps_token, and there is one.
    void end(Entry& entry, JobState state, const std::string& message, bool keeps_token = false);
    void end_as_asked(Entry& entry, StopRequest stop_request);
    void expire(const std::string& just_ended = {});
    void save_progress(Entry& entry);
    void save_curve(const Entry& entry);
    nlohmann::json live_view(const Entry& entry) const;
    void tell(Entry& entry);
    void tell_if_due(Entry& entry);
    std::uint64_t size_limit() const;
    std::vector<Job> kept_jobs() const;
    Milliseconds next_shown();

    const JobLimits limits_;
    const std::shared_ptr<Runner> runner_;
    const JobFolders folders_;

    mutable std::mutex mutex_;  // of all below, and of the entries' jobs; never held over the disk
    std::condition_variable changed_;
    std::map<std::string, EntryPointer> entries_;
    std::map<std::string, std::unique_ptr<Queue>> queues_;  // by device
    std::uint64_t sequence_ = 0;
    Milliseconds last_shown_ = 0;
    std::size_t reserved_ = 0;  // places in the queue of jobs that are being accepted
    bool closing_ = false;
    bool graphs_stopped_ = false;
    Listener listener_;
};

// What a node holds while it waits and trains; it ends as failed unless `end` was called. The Jobs
// must outlive it. Of one thread, but for job, cancel_token, stop_request and end.
class GraphJob : public TrainingObserver {
  public:
    GraphJob(Jobs& jobs, std::shared_ptr<Jobs::Entry> entry);
    ~GraphJob() override;

    Job job() const;
    std::filesystem::path folder() const;
    // Set when it is asked to stop.
    const CancelToken& cancel_token() const;
    StopRequest stop_request() const;

    struct Named {
        std::string key, lineage;  // as Job has them
        std::string device;
        JobRequest request;
        std::int64_t steps = 0;
        std::optional<double> preview_percent;
        std::string group = {};
    };
    // Becomes the job of a key, with a folder. Gives what was kept under it before. Throws
    // WrongState when another trains it, and StorageError.
    std::optional<Job> name(const Named& named);
    // It was done before: its node shows it, and it is over.
    void reuse();
    // Makes it ready to wait for its turn, from a step on: with the curve up to there, and the
    // figures, of the job that it goes on from, which may be itself. Throws StorageError.
    void prepare(std::int64_t step = 0, const Job* earlier = nullptr);
    // Jobs that are ready begin to wait for their turn; of one group, for the same one.
    static void queue(const std::vector<GraphJob*>& jobs);
    // Both, of this one.
    void start(std::int64_t step = 0, const Job* earlier = nullptr);
    // Whether its turn has come, or nobody gives turns any more; waits for it at most so long.
    bool wait(std::chrono::milliseconds time);

    void on_stage(const std::string& stage) override;
    void on_note(const std::string& text) override;
    void on_start(std::int64_t step, std::int64_t steps) override;
    void on_compute(const std::string& compute, const std::string& choice) override;
    void on_forecast(double seconds_a_step, double seconds_left) override;
    void on_passes(std::int64_t passes) override;
    void on_step(std::int64_t step, std::int64_t steps, double loss, double smooth_loss) override;
    void on_validation(std::int64_t step, double loss, bool best) override;
    void on_preview(std::int64_t step) override;
    // A picture of its own: JPEG.
    void preview(std::int64_t step, const std::string& jpeg);
    void best_is(std::int64_t step);
    // The first call counts; the next job's turn comes. The token in its folder is handed out
    // where `keeps_token`.
    void end(JobState state, const std::string& message, bool keeps_token = false);

  private:
    bool has_ended() const;

    Jobs& jobs_;
    std::shared_ptr<Jobs::Entry> entry_;  // changed by name alone, under Jobs::mutex_
    std::unique_ptr<Jobs::Reporter> reporter_;
    const CancelToken cancel_;  // the entry's, of which there may be two
    std::int64_t steps_ = 0;
};

}  // namespace zoodip
