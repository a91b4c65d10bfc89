#include "jobs/jobs.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include "core/error.h"
#include "core/log.h"
#include "jobs/entry.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;

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

// --- of graphs ---------------------------------------------------------------------------------

std::unique_ptr<GraphJob> Jobs::begin(const JobPlace& place, const std::string& word,
                                      std::int64_t steps) {
    const auto entry = std::make_shared<Entry>();
    entry->is_kept = false;
    entry->events = std::make_shared<EventLog>(fs::path());
    Job& job = entry->job;
    job.id = random_job_id();
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
