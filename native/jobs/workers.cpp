// How jobs get done: one thread a device, each job in its turn.
#include <algorithm>
#include <exception>
#include <memory>
#include <system_error>
#include <utility>

#include "core/error.h"
#include "core/json.h"
#include "core/log.h"
#include "core/thread_name.h"
#include "jobs/entry.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;

bool is_file(const fs::path& path) {
    std::error_code ignored;
    return fs::is_regular_file(path, ignored);
}

// A message may name a file, and a file's name may be no UTF-8.
std::string as_utf8(const std::string& text) {
    return parse_json(show_json(text)).get<std::string>();
}

}  // namespace

Milliseconds now_in_milliseconds() {
    const auto since = std::chrono::system_clock::now().time_since_epoch();
    return std::chrono::duration_cast<std::chrono::milliseconds>(since).count();
}

nlohmann::json state_event(const Job& job) {
    return {{"state", name_of(job.state)}, {"message", job.message}};
}

// All at once: who takes one of a group takes those that wait with it.
void Jobs::enqueue(const std::vector<EntryPointer>& entries) {
    const std::lock_guard lock(mutex_);
    if (closing_) return;  // they are on the disk: the next process has them
    for (const EntryPointer& entry : entries) {
        auto& queue = queues_[entry->job.device];
        if (queue == nullptr) queue = std::make_unique<Queue>();
        // Two that were accepted at once may come in the other order.
        const auto after = std::find_if(
            queue->waiting.begin(), queue->waiting.end(),
            [&](const auto& waiting) { return waiting->job.sequence > entry->job.sequence; });
        queue->waiting.insert(after, entry);
        if (!queue->thread.joinable()) {
            queue->thread = std::thread([this, &queue = *queue] { work(queue); });
        }
    }
    changed_.notify_all();
}

bool Jobs::dequeue(const Entry& entry) {
    const std::lock_guard lock(mutex_);
    const auto queue = queues_.find(entry.job.device);
    if (queue == queues_.end()) return false;
    return std::erase_if(queue->second->waiting,
                         [&](const EntryPointer& waiting) { return waiting.get() == &entry; }) > 0;
}

void Jobs::work(Queue& queue) {
    name_this_thread("zoodip-worker");
    for (;;) {
        const Group group = next(queue);
        if (group.empty()) return;
        try {
            perform(group);
        } catch (const std::exception& error) {  // the disk, most likely: the worker lives on
            for (const EntryPointer& entry : group) {
                const auto job = find(entry->job.id);
                if (job && !has_ended(job->state)) end(*entry, JobState::failed, error.what());
            }
        }
    }
}

// The first that waits, with those of its group. Empty when there is no more to do in this process.
Jobs::Group Jobs::next(Queue& queue) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return closing_ || !queue.waiting.empty(); });
    if (closing_) return {};
    Group group{queue.waiting.front()};
    queue.waiting.pop_front();
    const std::string name = group.front()->job.group;
    if (name.empty()) return group;
    std::erase_if(queue.waiting, [&](const EntryPointer& entry) {
        if (entry->job.group != name) return false;
        group.push_back(entry);
        return true;
    });
    return group;
}

// Whether there is still something to do.
bool Jobs::mark_running(Entry& entry) {
    const Milliseconds now = now_in_milliseconds();
    // A graph waits for its turn, whatever the disk says: the engine finds out by itself.
    const auto job = change(
        entry,
        [&](Job& changed) {
            if (has_ended(changed.state)) return;  // its graph gave up in this moment
            changed.state = JobState::running;
            if (changed.started == 0) changed.started = now;
        },
        /*must_be_kept=*/entry.job.origin != "graph");
    return job && !has_ended(job->state);
}

void Jobs::perform(const Group& group) {
    Group going;
    for (const EntryPointer& entry : group) {
        if (mark_running(*entry)) going.push_back(entry);
    }
    if (going.empty()) return;
    if (going.front()->job.origin == "graph") return give_turn(going);
    going.size() == 1 ? train(going.front()) : train_together(going);
}

void Jobs::give_turn(const Group& group) {
    std::unique_lock lock(mutex_);
    for (const EntryPointer& entry : group) entry->has_turn = true;
    changed_.notify_all();
    changed_.wait(lock, [&] {
        return closing_ ||
               std::all_of(group.begin(), group.end(), [](const auto& one) { return one->let_go; });
    });
}

JobTask Jobs::training_of(const Job& job) const {
    const fs::path folder = folders_.folder(job.id);
    return {
        job.model_file,
        job.request.images.empty() ? JobFolders::pictures_in(folder) : fs::path(job.images_folder),
        job.request.word,
        job.request.init,
        job.request.settings,
        JobFolders::token_in(folder),
        JobFolders::previews_in(folder),
        further_words(job.request, folder)};
}

std::vector<JobWord> Jobs::further_words(const JobRequest& request, const fs::path& folder) {
    std::vector<JobWord> words;
    for (const auto& [word, init] : request.also) {
        words.push_back({word, init, JobFolders::token_in(folder, word)});
    }
    return words;
}

void Jobs::load_curve(Entry& entry) {
    Curve curve = Curve::read(folders_.folder(entry.job.id));
    const std::lock_guard lock(mutex_);
    entry.curve = std::move(curve);
}

void Jobs::train(const EntryPointer& entry) {
    load_curve(*entry);
    Reporter reporter(*this, entry);
    TrainingResult result{false, 0};
    std::exception_ptr failure;
    try {
        result = runner_->run(training_of(*find(entry->job.id)), reporter, entry->cancel);
    } catch (...) {
        failure = std::current_exception();
    }
    conclude(*entry, result, failure);
}

void Jobs::train_together(const Group& group) {
    std::vector<std::unique_ptr<Reporter>> reporters;
    std::vector<SharedTraining> trainings;
    std::vector<bool> over(group.size());
    for (std::size_t i = 0; i < group.size(); ++i) {
        const EntryPointer& entry = group[i];
        load_curve(*entry);
        reporters.push_back(std::make_unique<Reporter>(*this, entry));
        const auto on_end = [this, &over, &entry, i](const TrainingResult& result,
                                                     const std::exception_ptr& failure) {
            over[i] = true;
            try {
                conclude(*entry, result, failure);
            } catch (const std::exception& error) {  // the disk, most likely: the others go on
                log_warning("jobs: ", error.what());
            }
        };
        trainings.push_back(
            {training_of(*find(entry->job.id)), reporters.back().get(), entry->cancel, on_end});
    }
    std::exception_ptr failure;
    try {
        runner_->run_together(trainings);
    } catch (...) {
        failure = std::current_exception();
    }
    for (std::size_t i = 0; i < group.size(); ++i) {
        if (!over[i]) conclude(*group[i], {false, 0}, failure);
    }
}

// What a training has come to.
void Jobs::conclude(Entry& entry, const TrainingResult& result, const std::exception_ptr& thrown) {
    std::string failure;
    bool finished = false;
    try {
        if (thrown) std::rethrow_exception(thrown);
        const std::lock_guard lock(mutex_);
        entry.job.progress.step = result.steps;
        finished = result.finished;
    } catch (const Cancelled&) {
    } catch (const std::exception& error) {
        failure = error.what();
    }
    const StopRequest stop_request = find(entry.job.id)->stop_request;
    if (stop_request == StopRequest::cancel) return end_as_asked(entry, stop_request);
    if (!failure.empty()) return end(entry, JobState::failed, failure, true);
    if (finished) return end(entry, JobState::finished, "", true);
    if (stop_request == StopRequest::stop) return end_as_asked(entry, stop_request);
    // Otherwise the process is ending: the record says running, and the next one goes on.
    save_progress(entry);
}

// A job that does not run any more, or never did in this process.
void Jobs::end_as_asked(Entry& entry, StopRequest stop_request) {
    const std::string id = entry.job.id;
    if (stop_request == StopRequest::stop && is_file(token_in(id))) {
        const std::int64_t step = find(id)->progress.step;
        return end(entry, JobState::stopped, concat("The word as of step ", step, " is kept."),
                   true);
    }
    {
        const std::lock_guard lock(mutex_);
        entry.curve.reset();  // or it would be kept
    }
    folders_.discard_learned(id);
    end(entry, JobState::cancelled,
        stop_request == StopRequest::stop ? "Stopped before the first step: nothing was learned."
                                          : "");
}

void Jobs::end(Entry& entry, JobState state, const std::string& message, bool keeps_token) {
    const Milliseconds now = now_in_milliseconds();
    const std::string id = entry.job.id;
    const std::string kept =
        keeps_token && is_file(token_in(id)) ? token_in(id).filename().string() : "";
    save_curve(entry);
    change(
        entry,
        [&](Job& changed) {
            changed.state = state;
            // Who queued a graph knows its places.
            changed.message = as_utf8(
                changed.origin == "graph" ? message : with_names(message, places_of(changed)));
            changed.token = kept;
            changed.ended = now;
            changed.progress.stage.clear();
        },
        /*must_be_kept=*/false);
    entry.events->close();
    {
        const std::lock_guard lock(mutex_);
        entry.curve.reset();
        changed_.notify_all();
    }
    expire(id);
}

// What a killed process leaves behind.
void Jobs::save_progress(Entry& entry) {
    save_curve(entry);
    change(
        entry, [](Job&) {}, /*must_be_kept=*/false);
}

void Jobs::save_curve(const Entry& entry) {
    std::optional<Curve> curve;
    std::string id;
    {
        const std::lock_guard lock(mutex_);
        if (!entry.is_kept) return;
        curve = entry.curve;
        id = entry.job.id;
    }
    if (!curve) return;
    try {
        curve->write(folders_.folder(id));
    } catch (const Error& error) {
        log_warning("jobs: the losses of job ", id, " are not kept: ", error.what());
    }
}

void Jobs::shutdown() {
    std::vector<EntryPointer> all;
    std::vector<std::thread> threads;
    {
        const std::lock_guard lock(mutex_);
        closing_ = true;
        for (const auto& [id, entry] : entries_) all.push_back(entry);
        for (const auto& [device, queue] : queues_) {
            if (queue->thread.joinable()) threads.push_back(std::move(queue->thread));
        }
        changed_.notify_all();
    }
    for (const EntryPointer& entry : all) {
        // A graph's training is the graph's: it goes on, and nobody waits for it any more.
        if (entry->job.origin != "graph") entry->cancel.cancel();
    }
    for (std::thread& thread : threads) thread.join();
    for (const EntryPointer& entry : all) entry->events->close();
}

}  // namespace zoodip
