// What is kept of jobs that have ended, and what goes first when it is too much.
#include <algorithm>
#include <chrono>
#include <vector>

#include "core/error.h"
#include "core/log.h"
#include "jobs/entry.h"
#include "jobs/jobs.h"

namespace zoodip {

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

}  // namespace zoodip
