// Jobs of graphs, as a node begins them.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "fake_runner.h"

#include "core/error.h"

namespace zoodip {

// Of a node that nothing is asked about.
inline const JobPlace some_place = {"1", "w", "p", 0};

// 64 hexadecimal digits, others at each call.
inline std::string new_key() {
    static std::atomic<int> last{100'000};
    const std::string number = std::to_string(++last);
    return std::string(64 - number.size(), 'a') + number;
}

inline GraphJob::Named named(const std::string& word, const std::string& key,
                             std::int64_t steps = 10) {
    return {key, "lineage of " + word, "cpu", request_of(word), steps, 5.0};
}

// Waits for its turn, to be given soon.
inline std::unique_ptr<GraphJob> enter(Jobs& jobs, const std::string& word,
                                       const std::string& key = new_key(),
                                       const JobPlace& place = some_place) {
    auto job = jobs.begin(place, word, 10);
    job->name(named(word, key));
    job->start();
    return job;
}

// Its turn has come.
inline std::unique_ptr<GraphJob> train(Jobs& jobs, const std::string& word,
                                       const std::string& key = new_key(),
                                       const JobPlace& place = some_place) {
    auto job = enter(jobs, word, key, place);
    require(job->wait(patience), "the turn of ", word, " does not come");
    return job;
}

inline std::string id_of(const std::unique_ptr<GraphJob>& job) {
    return job->job().id;
}

// Learned to its end, with a token of so many bytes; gives its key.
inline std::string train_to_end(Jobs& jobs, const std::string& word,
                                const std::string& key = new_key(),
                                const JobPlace& place = some_place, std::size_t bytes = 8) {
    const auto job = train(jobs, word, key, place);
    write_text(jobs.token_in(key), std::string(bytes, 'x'));
    job->on_step(10, 10, 0.5, 0.25);
    job->end(JobState::finished, "", true);
    return key;
}

}  // namespace zoodip
