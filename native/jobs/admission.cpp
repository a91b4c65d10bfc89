// How a job is accepted: whole on the disk before anybody hears of it, or not at all.
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/log.h"
#include "jobs/entry.h"
#include "jobs/jobs.h"

namespace zoodip {

namespace fs = std::filesystem;

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
    job.id = random_job_id();
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

}  // namespace zoodip
