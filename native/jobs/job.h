// One training that was asked for: what, for whom, and how far it is.
#pragma once

#include <cstdint>
#include <limits>
#include <string>

#include <nlohmann/json.hpp>

namespace zoodip {

enum class JobState {
    queued,
    running,
    finished,   // to its end
    stopped,    // on request, the word so far kept
    cancelled,  // on request, nothing kept
    failed      // the message says why
};

const char* name_of(JobState state);
bool has_ended(JobState state);

// What is asked of a job before it has ended.
enum class Wish { none, stop, cancel };

// What is to be learned. model and images are names: files are found by who takes the request.
struct JobRequest {
    std::string model;
    std::string images;  // a folder of pictures; empty for pictures of the job's own
    std::string word;
    std::string init;
    nlohmann::json settings = nlohmann::json::object();
};

struct JobProgress {
    std::string stage;  // what is being done, in a few words
    std::int64_t step = 0;
    std::int64_t steps = 0;  // 0 until it is known
    double loss = std::numeric_limits<double>::quiet_NaN();
    double smooth_loss = std::numeric_limits<double>::quiet_NaN();
};

// Milliseconds since 1970-01-01 UTC; 0 for not yet.
using Milliseconds = std::int64_t;

struct Job {
    std::string id;              // 16 hexadecimal digits
    std::uint64_t sequence = 0;  // the order in which jobs were accepted
    std::string origin = "api";  // "graph": a node trains, this only shows it
    std::string device = "cpu";  // a device does one training at a time
    JobRequest request;
    std::string model_file, images_folder;  // what its names stood for; no folder: its own pictures
    JobState state = JobState::queued;
    Wish wish = Wish::none;
    Milliseconds created = 0, started = 0, ended = 0;
    JobProgress progress;
    std::string message;
    std::string token;  // the file to hand out, relative to the job's folder; empty for none
};

// As it is kept on the disk, and back. Throws Error for anything else.
nlohmann::json to_record(const Job& job);
Job job_of_record(const nlohmann::json& record);

// As the API shows it. A loss that is not finite, and a time that has not come, are null.
nlohmann::json to_view(const Job& job);

// JSON has no NaN and no infinity.
nlohmann::json number_or_null(double value);

// "2026-11-26T10:47:02.123Z"
std::string format_time(Milliseconds time);

}  // namespace zoodip
