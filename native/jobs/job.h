// One training that was asked for: what, for whom, and how far it is.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace zoodip {

enum class JobState {
    queued,
    running,
    finished,     // to its end
    stopped,      // on request, the word so far kept
    interrupted,  // a graph's, with its prompt or its program; queued again it goes on
    cancelled,    // on request, nothing kept
    failed        // the message says why
};

const char* name_of(JobState state);
bool has_ended(JobState state);

// What is asked of a job before it has ended.
enum class StopRequest { none, stop, cancel };

// What is to be learned. model and images are names: files are found by who takes the request.
struct JobRequest {
    std::string model;
    std::string images;  // a folder of pictures; empty for pictures of the job's own
    std::string word;
    std::string init;
    nlohmann::json settings = nlohmann::json::object();
    // Further words in the same captions, each with its `init`.
    std::map<std::string, std::string> also = {};
};

struct JobProgress {
    std::string stage;  // what is being done, in a few words
    std::int64_t step = 0;
    std::int64_t steps = 0;  // 0 until it is known
    double loss = std::numeric_limits<double>::quiet_NaN();
    double smooth_loss = std::numeric_limits<double>::quiet_NaN();
    std::optional<std::int64_t> passes;        // of the UNet, made by the steps
    std::optional<std::int64_t> best_step;     // of the lowest validation loss
    std::optional<std::int64_t> preview_step;  // of the latest preview
    std::string compute, compute_choice;       // what products are made in, and why
};

// Milliseconds since 1970-01-01 UTC; 0 for not yet.
using Milliseconds = std::int64_t;

// A node that shows a job.
struct JobPlace {
    std::string node, workflow, prompt;
    Milliseconds shown = 0;  // since when
};

struct Job {
    // 16 hexadecimal digits; of a graph's job the 64 of its key, which stands for all its inputs.
    std::string id;
    std::string lineage;         // shared by jobs that differ in how far they go; a graph's alone
    std::uint64_t sequence = 0;  // the order in which jobs were accepted
    std::string origin = "api";  // or "graph"
    std::string device = "cpu";  // a device does one training at a time
    std::string group;           // shared by jobs that are done together; empty for none
    JobRequest request;
    std::string model_file, images_folder;  // what its names stood for; no folder: its own pictures
    JobState state = JobState::queued;
    StopRequest stop_request = StopRequest::none;
    Milliseconds created = 0, started = 0, ended = 0;
    JobProgress progress;
    Milliseconds used = 0;                  // last, as the result of a graph
    std::vector<JobPlace> places;           // that show it, the latest last
    std::optional<double> preview_percent;  // of its time, that previews may take
    std::string message;
    std::string token;  // the file to hand out, relative to the job's folder; empty for none
};

// Of 16 hexadecimal digits.
std::string random_job_id();

// Makes a place the latest that shows a job.
void show_at(Job& job, const JobPlace& place);
// Since when a place shows it; nothing where it does not.
std::optional<Milliseconds> shown_since(const Job& job, const std::string& workflow,
                                        const std::string& node);

// As it is kept on the disk, and back. Throws Error for anything else.
nlohmann::json to_record(const Job& job);
Job job_of_record(const nlohmann::json& record);
// A graph's training as it was kept, in run.json, before all jobs were kept alike. Throws Error for
// anything else.
Job job_of_graph_record(const nlohmann::json& record, Milliseconds used);

// As the API shows it. A loss that is not finite, and a time that has not come, are null.
nlohmann::json to_view(const Job& job);

// Where the API has the picture of a step.
std::string preview_address(const Job& job, std::int64_t step);

// JSON has no NaN and no infinity.
nlohmann::json number_or_null(double value);

// "2026-11-26T10:47:02.123Z"
std::string format_time(Milliseconds time);

}  // namespace zoodip
