// How jobs get done: one thread a device, each job in its turn.
#include <algorithm>
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

constexpr const char* token_name = "token.safetensors";

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

void Jobs::enqueue(const EntryPointer& entry) {
    const std::lock_guard lock(mutex_);
    if (closing_) return;  // it is on the disk: the next process has it
    auto& lane = lanes_[entry->job.device];
    if (lane == nullptr) lane = std::make_unique<Lane>();
    // Two that were accepted at once may come in the other order.
    const auto after = std::find_if(
        lane->waiting.begin(), lane->waiting.end(),
        [&](const auto& waiting) { return waiting->job.sequence > entry->job.sequence; });
    lane->waiting.insert(after, entry);
    if (!lane->thread.joinable()) {
        lane->thread = std::thread([this, &lane = *lane] { work(lane); });
    }
    changed_.notify_all();
}

bool Jobs::dequeue(const Entry& entry) {
    const std::lock_guard lock(mutex_);
    const auto lane = lanes_.find(entry.job.device);
    if (lane == lanes_.end()) return false;
    return std::erase_if(lane->second->waiting,
                         [&](const EntryPointer& waiting) { return waiting.get() == &entry; }) > 0;
}

void Jobs::work(Lane& lane) {
    name_this_thread("zoodip-worker");
    while (const EntryPointer entry = next(lane)) {
        try {
            perform(entry);
        } catch (const std::exception& error) {  // the disk, most likely: the worker lives on
            end(*entry, JobState::failed, error.what());
        }
    }
}

// Null when there is no more to do in this process.
Jobs::EntryPointer Jobs::next(Lane& lane) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return closing_ || !lane.waiting.empty(); });
    if (closing_) return nullptr;
    EntryPointer entry = lane.waiting.front();
    lane.waiting.pop_front();
    return entry;
}

void Jobs::perform(const EntryPointer& entry) {
    const Milliseconds now = now_in_milliseconds();
    const Job job = change(*entry, [&](Job& changed) {
        if (has_ended(changed.state)) return;  // its graph gave up in this moment
        changed.state = JobState::running;
        if (changed.started == 0) changed.started = now;
    });
    if (has_ended(job.state)) return;
    if (job.origin == "graph") return give_turn(*entry);
    train(*entry);
}

void Jobs::give_turn(Entry& entry) {
    std::unique_lock lock(mutex_);
    entry.has_turn = true;
    changed_.notify_all();
    changed_.wait(lock, [&] { return entry.let_go || closing_; });
}

Training Jobs::training_of(const Job& job) const {
    const fs::path folder = folders_.folder(job.id);
    return {
        job.model_file,
        job.request.images.empty() ? JobFolders::pictures_in(folder) : fs::path(job.images_folder),
        job.request.word,
        job.request.init,
        job.request.settings,
        JobFolders::token_in(folder),
        JobFolders::previews_in(folder)};
}

void Jobs::train(Entry& entry) {
    const Job job = *find(entry.job.id);
    Reporter reporter(*this, entry);
    std::string failure;
    bool finished = false;
    try {
        const TrainingResult result = runner_->run(training_of(job), reporter, entry.cancel);
        const std::lock_guard lock(mutex_);
        entry.job.progress.step = result.steps;
        finished = result.finished;
    } catch (const Cancelled&) {
    } catch (const std::exception& error) {
        failure = error.what();
    }
    const Wish wish = find(job.id)->wish;
    if (wish == Wish::cancel) return end_as_wished(entry, wish);
    if (!failure.empty()) return end(entry, JobState::failed, failure, token_name);
    if (finished) return end(entry, JobState::finished, "", token_name);
    if (wish == Wish::stop) return end_as_wished(entry, wish);
    // Otherwise the process is ending: the record says running, and the next one goes on.
}

// A job that does not run any more, or never did in this process.
void Jobs::end_as_wished(Entry& entry, Wish wish) {
    const std::string id = entry.job.id;
    if (wish == Wish::stop && is_file(folders_.folder(id) / token_name)) {
        const std::int64_t step = find(id)->progress.step;
        return end(entry, JobState::stopped, concat("The word as of step ", step, " is kept."),
                   token_name);
    }
    folders_.discard_learned(id);
    end(entry, JobState::cancelled,
        wish == Wish::stop ? "Stopped before the first step: nothing was learned." : "");
}

// token: named where there is such a file.
void Jobs::end(Entry& entry, JobState state, const std::string& message, const std::string& token) {
    const Milliseconds now = now_in_milliseconds();
    const std::string id = entry.job.id;
    const std::string kept = token.empty() || !is_file(folders_.folder(id) / token) ? "" : token;
    change(
        entry,
        [&](Job& changed) {
            changed.state = state;
            changed.message = as_utf8(with_names(message, places_of(changed)));
            changed.token = kept;
            changed.ended = now;
            changed.progress.stage.clear();
        },
        /*must_be_kept=*/false);
    entry.events->close();
    expire();
}

void Jobs::shutdown() {
    std::vector<EntryPointer> all;
    std::vector<std::thread> threads;
    {
        const std::lock_guard lock(mutex_);
        closing_ = true;
        for (const auto& [id, entry] : entries_) all.push_back(entry);
        for (const auto& [device, lane] : lanes_) {
            if (lane->thread.joinable()) threads.push_back(std::move(lane->thread));
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
