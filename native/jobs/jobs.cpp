#include "jobs/jobs.h"

#include <algorithm>
#include <random>
#include <system_error>
#include <utility>

#include "core/error.h"
#include "core/log.h"
#include "jobs/entry.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;

std::string random_id() {
    std::random_device device;
    std::string id;
    for (int i = 0; i < 16; ++i) id += "0123456789abcdef"[device() & 15];
    return id;
}

void require_running(const Job& job) {
    if (has_ended(job.state)) {
        throw WrongState(concat("job ", job.id, " has ended already: it is ", name_of(job.state)));
    }
}

}  // namespace

Jobs::Jobs(fs::path folder, std::shared_ptr<Runner> runner, JobLimits limits)
    : limits_(limits), runner_(std::move(runner)), folders_(std::move(folder)) {
    recover();
    expire();
}

Jobs::~Jobs() {
    shutdown();
}

void Jobs::recover() {
    for (Job& job : folders_.load()) {
        sequence_ = std::max(sequence_, job.sequence);
        const bool goes_on = !has_ended(job.state);
        if (goes_on) job.state = JobState::queued;
        const EntryPointer entry = take_in(std::move(job));
        const Job& taken = entry->job;
        if (!goes_on) {
            // What a process that was killed had no time to tell.
            const auto told = entry->events->read(entry->events->last() - 1, 1);
            const auto event = state_event(taken);
            if (told.empty() || told.front().data != event.dump()) {
                entry->events->append("state", event);
            }
            entry->events->close();
        } else if (taken.origin == "graph") {
            end(*entry, JobState::failed,
                "The program ended during this training; queue its graph again to go on.");
        } else if (taken.wish != Wish::none) {
            end_as_wished(*entry, taken.wish);
        } else {
            enqueue(entry);
        }
    }
}

Jobs::EntryPointer Jobs::take_in(Job job) {
    const auto entry = std::make_shared<Entry>();
    entry->events = std::make_shared<EventLog>(JobFolders::events_in(folders_.folder(job.id)));
    entry->job = std::move(job);
    const std::lock_guard lock(mutex_);
    entries_[entry->job.id] = entry;
    return entry;
}

void Jobs::reserve_place() {
    const std::lock_guard lock(mutex_);
    std::size_t waiting = reserved_;
    for (const auto& [device, lane] : lanes_) waiting += lane->waiting.size();
    if (closing_) throw QueueFull("the server is ending");
    if (waiting >= limits_.queued) {
        throw QueueFull(concat("the queue is full: ", limits_.queued, " jobs wait already"));
    }
    ++reserved_;
}

Job Jobs::submit(const JobRequest& request, const Training& files,
                 std::span<const NewPicture> pictures) {
    return admit(request, files, pictures, [](const fs::path&) {});
}

std::optional<Job> Jobs::extend(const std::string& id, std::int64_t steps) {
    const auto earlier = find(id);
    if (!earlier) return std::nullopt;
    if (earlier->origin == "graph") {
        throw WrongState(
            concat("job ", id, " is the training of a graph: queue the graph with more steps"));
    }
    if (!has_ended(earlier->state)) {
        throw WrongState(concat("job ", id, " is ", name_of(earlier->state),
                                ": it can be extended once it has ended"));
    }
    JobRequest request = earlier->request;
    request.settings["steps"] = steps;
    Training files = training_of(*earlier);
    files.settings = request.settings;
    const fs::path from = folders_.folder(id);
    return admit(request, files, {}, [&](const fs::path& folder) {
        if (!runner_->carry_over(JobFolders::token_in(from), JobFolders::token_in(folder))) {
            throw WrongState(concat("job ", id, " is ", name_of(earlier->state),
                                    " and has kept nothing to go on from"));
        }
        if (request.images.empty()) JobFolders::copy_pictures(from, folder);
    });
}

// prepare: puts into the staged folder what else belongs there.
Job Jobs::admit(const JobRequest& request, const Training& files,
                std::span<const NewPicture> pictures, const Prepare& prepare) {
    reserve_place();
    const std::shared_ptr<void> place(nullptr, [this](void*) {
        const std::lock_guard lock(mutex_);
        --reserved_;
    });
    Job job;
    job.id = random_id();
    job.request = request;
    job.model_file = files.model.string();
    job.images_folder = request.images.empty() ? "" : files.images.string();
    job.created = now_in_milliseconds();
    const fs::path folder = folders_.stage(job.id, pictures);
    try {
        prepare(folder);
        Training training = files;
        if (request.images.empty()) training.images = JobFolders::pictures_in(folder);
        training.token = JobFolders::token_in(folder);
        training.previews = JobFolders::previews_in(folder);
        runner_->check(training);
        job.device = runner_->device(request.settings);
    } catch (const WrongState&) {
        folders_.drop_staged(job.id);
        throw;
    } catch (const StorageError&) {
        folders_.drop_staged(job.id);
        throw;
    } catch (const Error& error) {
        folders_.drop_staged(job.id);
        PlaceNames places = places_of(job);
        places.emplace_back(folder, "");
        throw Error(with_names(error.what(), places));
    } catch (...) {
        folders_.drop_staged(job.id);
        throw;
    }
    accept(job);
    return job;
}

std::unique_ptr<GraphTraining> Jobs::enter(const JobRequest& request, const std::string& device) {
    Job job;
    job.id = random_id();
    job.origin = "graph";
    job.device = device;
    job.request = request;
    job.created = now_in_milliseconds();
    folders_.stage(job.id, {});
    return std::make_unique<GraphTraining>(*this, accept(job));
}

PlaceNames Jobs::places() const {
    return {{folders_.root(), ""}};
}

PlaceNames Jobs::places_of(const Job& job) const {
    return {{folders_.root(), ""},
            {folders_.folder(job.id), ""},
            {job.model_file, job.request.model},
            {job.images_folder, job.request.images}};
}

// Makes a staged job one that is there, in its place in the order, and queues it.
Jobs::EntryPointer Jobs::accept(Job& job) {
    {
        const std::lock_guard lock(mutex_);
        job.sequence = ++sequence_;
    }
    folders_.accept(job);
    const EntryPointer entry = take_in(job);
    entry->events->append("state", state_event(job));
    enqueue(entry);
    return entry;
}

Jobs::EntryPointer Jobs::entry(const std::string& id) const {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(id);
    return found == entries_.end() ? nullptr : found->second;
}

std::vector<Job> Jobs::list() const {
    std::vector<Job> jobs;
    {
        const std::lock_guard lock(mutex_);
        for (const auto& [id, entry] : entries_) jobs.push_back(entry->job);
    }
    std::sort(jobs.begin(), jobs.end(),
              [](const Job& a, const Job& b) { return a.sequence > b.sequence; });
    return jobs;
}

std::optional<Job> Jobs::find(const std::string& id) const {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(id);
    if (found == entries_.end()) return std::nullopt;
    return found->second->job;
}

std::optional<std::size_t> Jobs::position(const std::string& id) const {
    const std::lock_guard lock(mutex_);
    for (const auto& [device, lane] : lanes_) {
        for (std::size_t i = 0; i < lane->waiting.size(); ++i) {
            if (lane->waiting[i]->job.id == id) return i;
        }
    }
    return std::nullopt;
}

std::optional<Job> Jobs::stop(const std::string& id) {
    return ask(id, Wish::stop);
}

std::optional<Job> Jobs::cancel(const std::string& id) {
    return ask(id, Wish::cancel);
}

std::optional<Job> Jobs::ask(const std::string& id, Wish wish) {
    const EntryPointer asked = entry(id);
    if (asked == nullptr) return std::nullopt;
    change(
        *asked,
        [&](Job& job) {
            require_running(job);
            job.wish = std::max(job.wish, wish);
        },
        /*must_be_kept=*/false);
    if (asked->job.origin != "graph" && dequeue(*asked)) {
        end_as_wished(*asked, find(id)->wish);
    } else {
        asked->cancel.cancel();
    }
    return find(id);
}

bool Jobs::remove(const std::string& id) {
    const EntryPointer removed = entry(id);
    if (removed == nullptr) return false;
    const std::lock_guard one_at_a_time(removed->writing);
    {
        const std::lock_guard lock(mutex_);
        if (entries_.count(id) == 0) return false;
        if (!has_ended(removed->job.state)) {
            throw WrongState(
                concat("job ", id, " is ", name_of(removed->job.state), ": cancel it first"));
        }
    }
    folders_.remove(id);
    const std::lock_guard lock(mutex_);
    entries_.erase(id);
    return true;
}

std::shared_ptr<EventLog> Jobs::events(const std::string& id) const {
    const EntryPointer found = entry(id);
    return found == nullptr ? nullptr : found->events;
}

std::optional<fs::path> Jobs::token(const std::string& id) const {
    const auto job = find(id);
    if (!job || job->token.empty()) return std::nullopt;
    const fs::path file = folders_.folder(id) / job->token;
    std::error_code gone;  // that of a graph lies in the graph's own store
    if (!fs::is_regular_file(file, gone)) return std::nullopt;
    return file;
}

std::optional<fs::path> Jobs::preview(const std::string& id, std::int64_t step) const {
    if (!find(id)) return std::nullopt;
    for (const char* extension : {".png", ".jpg"}) {
        const fs::path file = JobFolders::preview_in(folders_.folder(id), step, extension);
        std::error_code ignored;
        if (fs::is_regular_file(file, ignored)) return file;
    }
    return std::nullopt;
}

// The record on the disk first, then what everyone sees, then the event of a new state: in this
// order for one change after another. Without the disk, what must not fail (an end, a wish to stop)
// holds for this process.
Job Jobs::change(Entry& entry, const std::function<void(Job&)>& alter, bool must_be_kept) {
    const std::lock_guard one_at_a_time(entry.writing);
    Job next;
    {
        const std::lock_guard lock(mutex_);
        next = entry.job;
    }
    const JobState before = next.state;
    alter(next);
    try {
        folders_.save(next);
    } catch (const Error& error) {
        if (must_be_kept) throw;
        log_warning("jobs: ", error.what(), "; after a restart job ", next.id,
                    " is as it was before");
    }
    {
        const std::lock_guard lock(mutex_);
        alter(entry.job);
        next = entry.job;
    }
    if (next.state != before) entry.events->append("state", state_event(next));
    return next;
}

// Drops the ended ones beyond what is kept.
void Jobs::expire() {
    std::vector<Job> ended;
    for (Job& job : list()) {
        if (has_ended(job.state)) ended.push_back(std::move(job));
    }
    std::sort(ended.begin(), ended.end(),
              [](const Job& a, const Job& b) { return a.ended > b.ended; });
    const Milliseconds oldest =
        now_in_milliseconds() - std::chrono::milliseconds(limits_.kept_for).count();
    for (std::size_t i = 0; i < ended.size(); ++i) {
        if (i < limits_.kept && ended[i].ended >= oldest) continue;
        try {
            remove(ended[i].id);
        } catch (const Error& error) {
            log_warning("jobs: an old one is kept: ", error.what());
        }
    }
}

}  // namespace zoodip
