#include "jobs/job.h"

#include <array>
#include <cmath>
#include <cstdio>
#include <ctime>

#include "core/error.h"

namespace zoodip {
namespace {

using nlohmann::json;

constexpr std::array<const char*, 6> state_names = {"queued",  "running",   "finished",
                                                    "stopped", "cancelled", "failed"};
constexpr std::array<const char*, 3> wish_names = {"none", "stop", "cancel"};

template <class Enum, std::size_t count>
Enum find_name(const std::array<const char*, count>& names, const std::string& name) {
    for (std::size_t i = 0; i < count; ++i) {
        if (name == names[i]) return static_cast<Enum>(i);
    }
    fail("job: there is no state '", name, "'");
}

double number_or_nan(const json& value) {
    return value.is_number() ? value.get<double>() : std::numeric_limits<double>::quiet_NaN();
}

json time_or_null(Milliseconds time) {
    return time > 0 ? json(format_time(time)) : json();
}

json to_json(const JobProgress& progress) {
    return {{"stage", progress.stage},
            {"step", progress.step},
            {"steps", progress.steps},
            {"loss", number_or_null(progress.loss)},
            {"smooth_loss", number_or_null(progress.smooth_loss)}};
}

JobProgress progress_of(const json& record) {
    return {record.at("stage"), record.at("step"), record.at("steps"),
            number_or_nan(record.at("loss")), number_or_nan(record.at("smooth_loss"))};
}

}  // namespace

json number_or_null(double value) {
    return std::isfinite(value) ? json(value) : json();
}

const char* name_of(JobState state) {
    return state_names[static_cast<std::size_t>(state)];
}

bool has_ended(JobState state) {
    return state != JobState::queued && state != JobState::running;
}

json to_record(const Job& job) {
    const JobRequest& request = job.request;
    return {{"id", job.id},
            {"sequence", job.sequence},
            {"origin", job.origin},
            {"device", job.device},
            {"model", request.model},
            {"images", request.images},
            {"word", request.word},
            {"init", request.init},
            {"settings", request.settings},
            {"model_file", job.model_file},
            {"images_folder", job.images_folder},
            {"state", name_of(job.state)},
            {"wish", wish_names[static_cast<std::size_t>(job.wish)]},
            {"created", job.created},
            {"started", job.started},
            {"ended", job.ended},
            {"progress", to_json(job.progress)},
            {"message", job.message},
            {"token", job.token}};
}

Job job_of_record(const json& record) {
    try {
        return {record.at("id"),
                record.at("sequence"),
                record.at("origin"),
                record.at("device"),
                {record.at("model"), record.at("images"), record.at("word"), record.at("init"),
                 record.at("settings")},
                record.at("model_file"),
                record.at("images_folder"),
                find_name<JobState>(state_names, record.at("state")),
                find_name<Wish>(wish_names, record.at("wish")),
                record.at("created"),
                record.at("started"),
                record.at("ended"),
                progress_of(record.at("progress")),
                record.at("message"),
                record.at("token")};
    } catch (const json::exception&) {
        fail("job: its record is damaged");
    }
}

json to_view(const Job& job) {
    const JobRequest& request = job.request;
    json view = {{"id", job.id},
                 {"state", name_of(job.state)},
                 {"origin", job.origin},
                 {"device", job.device},
                 {"created", time_or_null(job.created)},
                 {"started", time_or_null(job.started)},
                 {"ended", time_or_null(job.ended)},
                 {"model", request.model},
                 {"images", request.images.empty() ? json() : json(request.images)},
                 {"word", request.word},
                 {"init", request.init},
                 {"settings", request.settings},
                 {"message", job.message},
                 {"position", nullptr},
                 {"token", !job.token.empty()}};
    view.update(to_json(job.progress));
    return view;
}

std::string format_time(Milliseconds time) {
    const std::time_t seconds = time / 1000;
    std::tm parts{};
#ifdef _WIN32
    gmtime_s(&parts, &seconds);
#else
    gmtime_r(&seconds, &parts);
#endif
    std::array<char, 40> text{};
    const std::size_t length = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &parts);
    return std::string(text.data(), length) +
           concat('.', time / 100 % 10, time / 10 % 10, time % 10, 'Z');
}

}  // namespace zoodip
