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

[[noreturn]] void throw_foreign(const Job& job) {
    throw WrongState(concat("job ", job.id, " is trained by another process: ask that one"));
}

}  // namespace

Jobs::Jobs(fs::path folder, std::shared_ptr<Runner> runner, JobLimits limits,
           JobFolders::Sharing sharing)
    : limits_(limits), runner_(std::move(runner)), folders_(std::move(folder), sharing) {
    recover();
    expire();
}

Jobs::~Jobs() {
    shutdown();
}

void Jobs::recover() {
    std::vector<EntryPointer> waiting;
    for (Job& job : folders_.load()) {
        sequence_ = std::max(sequence_, job.sequence);
        for (const JobPlace& place : job.places) last_shown_ = std::max(last_shown_, place.shown);
        // What another process that shares the folder does is its own.
        const bool has_to_end = !has_ended(job.state);
        const bool foreign = has_to_end && (!folders_.holds() || folders_.is_in_use(job.id));
        const bool goes_on = has_to_end && !foreign;
        if (goes_on) job.state = JobState::queued;
        const EntryPointer entry = take_in(std::move(job), foreign);
        const Job& taken = entry->job;
        if (foreign || !folders_.holds()) {
            entry->events->close();
        } else if (!goes_on) {
            // What a process that was killed had no time to tell.
            const auto told = entry->events->read(entry->events->last() - 1, 1);
            const auto event = state_event(taken);
            if (told.empty() || told.front().data != event.dump()) {
                entry->events->append("state", event);
            }
            entry->events->close();
        } else if (taken.origin == "graph") {
            end(*entry, JobState::interrupted,
                "The program ended during this training: queue its graph again to go on with it.");
        } else if (taken.stop_request != StopRequest::none) {
            end_as_asked(*entry, taken.stop_request);
        } else {
            waiting.push_back(entry);
        }
    }
    enqueue(waiting);
}

Jobs::EntryPointer Jobs::take_in(Job job, bool foreign) {
    const auto entry = std::make_shared<Entry>();
    entry->is_foreign = foreign;
    entry->events = std::make_shared<EventLog>(JobFolders::events_in(folders_.folder(job.id)));
    entry->job = std::move(job);
    const std::lock_guard lock(mutex_);
    entries_[entry->job.id] = entry;
    return entry;
}

// A job that was not accepted yet. What is still in its staged folder then goes with it.
struct Jobs::Staged {
    Job job;
    JobTask training;
    PlaceNames places;
    std::shared_ptr<void> folder;
};

Jobs::Staged Jobs::stage(const JobRequest& request, const JobTask& files,
                         std::span<const NewPicture> pictures) {
    Staged staged;
    Job& job = staged.job;
    job.id = random_id();
    job.request = request;
    job.model_file = files.model.string();
    job.images_folder = request.images.empty() ? "" : files.images.string();
    job.created = now_in_milliseconds();
    const fs::path folder = folders_.stage(job.id, pictures);
    staged.folder = {nullptr, [this, id = job.id](void*) { folders_.drop_staged(id); }};
    staged.training = files;
    if (request.images.empty()) staged.training.images = JobFolders::pictures_in(folder);
    staged.training.token = JobFolders::token_in(folder);
    staged.training.previews = JobFolders::previews_in(folder);
    staged.training.also = further_words(request, folder);
    staged.places = places_of(job);
    staged.places.emplace_back(folder, "");
    return staged;
}

// Held while the result lives. Throws QueueFull.
std::shared_ptr<void> Jobs::reserve_places(std::size_t count) {
    if (!folders_.holds()) throw QueueFull(folders_.held_by());
    const std::lock_guard lock(mutex_);
    std::size_t waiting = reserved_;
    for (const auto& [device, queue] : queues_) waiting += queue->waiting.size();
    if (closing_) throw QueueFull("the server is ending");
    if (waiting + count > limits_.queued) {
        throw QueueFull(count == 1
                            ? concat("the queue is full: ", limits_.queued, " jobs wait already")
                            : concat("the queue has room for ", limits_.queued, " jobs, of which ",
                                     waiting, " wait already: no place for ", count, " more"));
    }
    reserved_ += count;
    return {nullptr, [this, count](void*) {
                const std::lock_guard releasing(mutex_);
                reserved_ -= count;
            }};
}

Job Jobs::submit(const JobRequest& request, const JobTask& files,
                 std::span<const NewPicture> pictures) {
    return admit(request, files, pictures, [](const fs::path&) {});
}

std::vector<Job> Jobs::submit_together(const std::vector<Subject>& subjects) {
    const auto places = reserve_places(subjects.size());
    std::vector<Staged> staged;
    std::vector<JobTask> trainings;
    PlaceNames names;
    for (const Subject& subject : subjects) {
        staged.push_back(stage(subject.request, subject.files, {}));
        Staged& own = staged.back();
        own.job.group = staged.front().job.id;
        trainings.push_back(own.training);
        for (auto& place : own.places) names.push_back(place);
    }
    try {
        runner_->check_together(trainings);
    } catch (const Error& error) {
        throw Error(with_names(error.what(), names));
    }
    std::vector<Job> jobs;
    std::vector<EntryPointer> entries;
    try {
        for (Staged& own : staged) {
            own.job.device = runner_->device(own.job.request.settings);
            entries.push_back(accept(own.job));
            jobs.push_back(own.job);
        }
    } catch (...) {
        for (const EntryPointer& entry : entries) forget(*entry);
        throw;
    }
    // Together: a worker that is free takes all that wait of a group at once.
    enqueue(entries);
    return jobs;
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
    JobTask files = training_of(*earlier);
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
Job Jobs::admit(const JobRequest& request, const JobTask& files,
                std::span<const NewPicture> pictures, const Prepare& prepare) {
    const auto place = reserve_places();
    Staged staged = stage(request, files, pictures);
    try {
        prepare(staged.training.token.parent_path());
        runner_->check(staged.training);
        staged.job.device = runner_->device(request.settings);
    } catch (const WrongState&) {
        throw;
    } catch (const StorageError&) {
        throw;
    } catch (const Error& error) {
        throw Error(with_names(error.what(), staged.places));
    }
    const EntryPointer entry = accept(staged.job);
    enqueue({entry});
    return staged.job;
}

// A job that nobody was told of: one of its group could not be kept.
void Jobs::forget(Entry& entry) {
    {
        const std::lock_guard lock(mutex_);
        entry.gone = true;
        entries_.erase(entry.job.id);
    }
    entry.events->close();
    try {
        folders_.remove(entry.job.id);
    } catch (const Error& error) {
        log_warning("jobs: ", error.what());
    }
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

// Makes a staged job one that is there, in its place in the order.
Jobs::EntryPointer Jobs::accept(Job& job) {
    {
        const std::lock_guard lock(mutex_);
        job.sequence = ++sequence_;
    }
    folders_.accept(job);
    const EntryPointer entry = take_in(job);
    entry->events->append("state", state_event(job));
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
    std::sort(jobs.begin(), jobs.end(), [](const Job& a, const Job& b) {
        return std::pair(a.sequence, a.created) > std::pair(b.sequence, b.created);
    });
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
    for (const auto& [device, queue] : queues_) {
        for (std::size_t i = 0; i < queue->waiting.size(); ++i) {
            if (queue->waiting[i]->job.id == id) return i;
        }
    }
    return std::nullopt;
}

std::optional<Job> Jobs::stop(const std::string& id) {
    return ask(id, StopRequest::stop);
}

std::optional<Job> Jobs::cancel(const std::string& id) {
    return ask(id, StopRequest::cancel);
}

std::optional<Job> Jobs::ask(const std::string& id, StopRequest stop_request) {
    const EntryPointer asked = entry(id);
    if (asked == nullptr) return std::nullopt;
    const auto changed = change(
        *asked,
        [&](Job& job) {
            require_running(job);
            if (asked->is_foreign) throw_foreign(job);
            job.stop_request = std::max(job.stop_request, stop_request);
            job.progress.stage = "stopping";
        },
        /*must_be_kept=*/false);
    if (!changed) return std::nullopt;
    tell(*asked);
    if (asked->job.origin != "graph" && dequeue(*asked)) {
        end_as_asked(*asked, find(id)->stop_request);
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
        if (removed->gone) return false;
        if (!has_ended(removed->job.state)) {
            throw WrongState(
                concat("job ", id, " is ", name_of(removed->job.state), ": cancel it first"));
        }
    }
    std::error_code ignored;
    // Its folder may have been deleted by hand.
    if (removed->is_kept && fs::exists(folders_.folder(id), ignored)) {
        if (folders_.is_in_use(id)) throw_foreign(removed->job);
        folders_.remove(id);
    }
    const std::lock_guard lock(mutex_);
    entries_.erase(id);
    removed->gone = true;
    return true;
}

std::shared_ptr<EventLog> Jobs::events(const std::string& id) const {
    const EntryPointer found = entry(id);
    return found == nullptr ? nullptr : found->events;
}

std::optional<fs::path> Jobs::token(const std::string& id, const std::string& word) const {
    const auto job = find(id);
    if (!job || job->token.empty()) return std::nullopt;
    const fs::path folder = folders_.folder(id);
    const bool first = word.empty() || word == job->request.word;
    if (!first && !job->request.also.contains(word)) return std::nullopt;
    const fs::path file = first ? folder / job->token : JobFolders::token_in(folder, word);
    std::error_code gone;  // deleted by hand
    if (!fs::is_regular_file(file, gone)) return std::nullopt;
    return file;
}

std::optional<fs::path> Jobs::preview(const std::string& id, std::int64_t step) const {
    const auto job = find(id);
    if (!job) return std::nullopt;
    for (const char* extension : {".png", ".jpg"}) {
        const fs::path file = JobFolders::preview_in(folders_.folder(id), step, extension);
        std::error_code ignored;
        if (fs::is_regular_file(file, ignored)) return file;
    }
    const fs::path earlier = folders_.folder(id) / "preview.jpg";  // the latest
    std::error_code ignored;
    if (job->progress.preview_step != step || !fs::is_regular_file(earlier, ignored))
        return std::nullopt;
    return earlier;
}

std::optional<nlohmann::json> Jobs::view(const std::string& id) const {
    const EntryPointer found = entry(id);
    if (found == nullptr) return std::nullopt;
    nlohmann::json shown;
    {
        const std::lock_guard lock(mutex_);
        shown = live_view(*found);
    }
    if (const auto place = position(id)) shown["position"] = *place;
    return shown;
}

std::optional<nlohmann::json> Jobs::view_with_curve(const std::string& id) const {
    const EntryPointer found = entry(id);
    if (found == nullptr) return std::nullopt;
    nlohmann::json shown;
    std::optional<Curve> whole;
    {
        const std::lock_guard lock(mutex_);
        shown = live_view(*found);
        whole = found->curve;  // of the same moment
    }
    if (!whole) whole = curve(id);
    if (const auto place = position(id)) shown["position"] = *place;
    shown["points"] = to_json(std::span(whole->steps()));
    shown["validations"] = to_json(std::span(whole->validations()));
    return shown;
}

Curve Jobs::curve(const std::string& id) const {
    const EntryPointer found = entry(id);
    if (found == nullptr) return {};
    {
        const std::lock_guard lock(mutex_);
        if (found->curve) return *found->curve;
        if (!found->is_kept) return {};
    }
    return Curve::read(folders_.folder(id));
}

// The record on the disk first, then what everyone sees, then the event of a new state: in this
// order for one change after another. Without the disk, what must not fail (an end, a wish to stop)
// holds for this process. Nothing where it came too late: there is no such job any more.
std::optional<Job> Jobs::change(Entry& entry, const std::function<void(Job&)>& alter,
                                bool must_be_kept) {
    const std::lock_guard one_at_a_time(entry.writing);
    Job next;
    {
        const std::lock_guard lock(mutex_);
        if (entry.gone) return std::nullopt;
        next = entry.job;
    }
    const JobState before = next.state;
    alter(next);
    try {
        if (entry.is_kept && !entry.is_foreign) folders_.save(next);
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
    if (next.state != before) {
        entry.events->append("state", state_event(next));
        tell(entry);
    }
    return next;
}

// Drops the ended ones beyond what is kept, those that were longest of no use first.
void Jobs::expire(const std::string& just_ended) {
    struct Kept {
        std::string id;
        Milliseconds used;
        std::uint64_t bytes;
    };
    std::vector<Kept> ended;
    std::uint64_t total = 0;
    const std::uint64_t limit = size_limit();
    for (const Job& job : kept_jobs()) {
        const std::uint64_t bytes = limit > 0 ? folders_.size(job.id) : 0;
        total += bytes;
        if (has_ended(job.state)) {
            ended.push_back({job.id, std::max(job.ended, job.used), bytes});
        }
    }
    std::sort(ended.begin(), ended.end(),
              [](const Kept& a, const Kept& b) { return a.used < b.used; });
    const Milliseconds oldest =
        now_in_milliseconds() - std::chrono::milliseconds(limits_.kept_for).count();
    for (std::size_t i = 0; i < ended.size(); ++i) {
        const auto& [id, used, bytes] = ended[i];
        const bool is_over =
            ended.size() - i > limits_.kept || used < oldest || (limit > 0 && total > limit);
        // A limit that is too small for one is no reason to lose what was learned just now.
        if (!is_over || (id == just_ended && limits_.kept > 0)) continue;
        try {
            remove(id);
            total -= bytes;  // also where another thread removed it just now
        } catch (const Error& error) {
            log_warning("jobs: an old one is kept: ", error.what());
        }
    }
}

std::vector<Job> Jobs::kept_jobs() const {
    std::vector<Job> jobs;
    const std::lock_guard lock(mutex_);
    for (const auto& [id, entry] : entries_) {
        if (entry->is_kept) jobs.push_back(entry->job);
    }
    return jobs;
}

std::uint64_t Jobs::size_limit() const {
    return folders_.size_limit().value_or(limits_.kept_bytes);
}

JobStore Jobs::store() const {
    JobStore store{0, 0, size_limit()};
    for (const Job& job : kept_jobs()) {
        ++store.jobs;
        store.bytes += folders_.size(job.id);
    }
    return store;
}

void Jobs::set_store_limit(std::uint64_t megabytes) {
    require(megabytes >= min_kept_mb && megabytes <= max_kept_mb,
            "limit_mb: needs a whole number from ", min_kept_mb, " to ", max_kept_mb, "; got ",
            megabytes);
    folders_.set_size_limit(megabytes << 20);
    expire();
}

void Jobs::clear() {
    std::optional<StorageError> refused;
    for (const Job& job : list()) {
        if (!has_ended(job.state)) continue;
        try {
            remove(job.id);
        } catch (const WrongState&) {
            // It has begun again, or another process trains it.
        } catch (const StorageError& error) {
            refused = error;
        }
    }
    if (refused) throw StorageError(*refused);
}

// --- of graphs ---------------------------------------------------------------------------------

std::unique_ptr<GraphJob> Jobs::begin(const JobPlace& place, const std::string& word,
                                      std::int64_t steps) {
    const auto entry = std::make_shared<Entry>();
    entry->is_kept = false;
    entry->events = std::make_shared<EventLog>(fs::path());
    Job& job = entry->job;
    job.id = random_id();
    job.origin = "graph";
    job.state = JobState::running;
    job.request.word = word;
    job.progress.steps = steps;
    job.created = job.started = now_in_milliseconds();
    bool stopped = false;
    {
        const std::lock_guard lock(mutex_);
        show_at(job, {place.node, place.workflow, place.prompt, next_shown()});
        std::erase_if(entries_, [&](const auto& other) {
            return !other.second->is_kept &&
                   shown_since(other.second->job, place.workflow, place.node);
        });
        entries_[job.id] = entry;
        job.sequence = ++sequence_;
        stopped = graphs_stopped_;
    }
    if (stopped) stop(job.id);
    return std::make_unique<GraphJob>(*this, entry);
}

// Later than any other: which of two a node shows must not depend on a clock.
Milliseconds Jobs::next_shown() {
    last_shown_ = std::max(now_in_milliseconds(), last_shown_ + 1);
    return last_shown_;
}

std::optional<Job> Jobs::shown_at(const std::string& workflow, const std::string& node) const {
    std::optional<Job> latest;
    Milliseconds since = -1;
    const std::lock_guard lock(mutex_);
    for (const auto& [id, entry] : entries_) {
        const auto shown = shown_since(entry->job, workflow, node);
        if (!shown || *shown <= since) continue;
        latest = entry->job;
        since = *shown;
    }
    return latest;
}

std::optional<Job> Jobs::show(const std::string& id, const JobPlace& place) {
    const EntryPointer shown = entry(id);
    if (shown == nullptr) return std::nullopt;
    JobPlace at = place;
    {
        const std::lock_guard lock(mutex_);
        at.shown = next_shown();
    }
    return change(*shown, [&](Job& job) { show_at(job, at); });
}

std::vector<Job> Jobs::of_lineage(const std::string& lineage) const {
    std::vector<Job> found;
    for (Job& job : kept_jobs()) {
        if (job.lineage == lineage && has_ended(job.state)) found.push_back(std::move(job));
    }
    return found;
}

bool Jobs::stop_graphs(std::chrono::milliseconds time) {
    {
        const std::lock_guard lock(mutex_);
        graphs_stopped_ = true;
    }
    const auto runs = [](const Entry& entry) {
        return entry.job.origin == "graph" && !has_ended(entry.job.state) && !entry.is_foreign;
    };
    std::vector<std::string> running;
    {
        const std::lock_guard lock(mutex_);
        for (const auto& [id, entry] : entries_) {
            if (runs(*entry)) running.push_back(id);
        }
    }
    for (const std::string& id : running) {
        try {
            stop(id);
        } catch (const Error&) {
            // It has ended in this moment.
        }
    }
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, time, [&] {
        return std::none_of(entries_.begin(), entries_.end(),
                            [&](const auto& entry) { return runs(*entry.second); });
    });
}

}  // namespace zoodip
