#include "jobs/job.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <random>

#include "core/error.h"
#include "core/json.h"

namespace zoodip {
namespace {

using nlohmann::json;

constexpr std::array<const char*, 7> state_names = {
    "queued", "running", "finished", "stopped", "interrupted", "cancelled", "failed"};
constexpr std::size_t max_places = 20, max_text = 2000;
constexpr std::int64_t max_count = std::int64_t{1} << 53;  // beyond it a page cannot count
constexpr std::array<const char*, 3> stop_request_names = {"none", "stop", "cancel"};

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

json step_or_null(const std::optional<std::int64_t>& step) {
    return step ? json(*step) : json();
}

// Nothing for what is missing, as in records of earlier versions, or is null.
std::optional<std::int64_t> step_in(const json& record, const char* name) {
    const json value = record.value(name, json());
    return value.is_number_integer() ? std::optional(value.get<std::int64_t>()) : std::nullopt;
}

std::int64_t count_in(const json& record, const char* name) {
    const json& value = record.at(name);
    if (!value.is_number_unsigned() || value > max_count) fail("job: its record is damaged");
    return value.get<std::int64_t>();
}

std::string text_in(const json& record, const char* name) {
    const json value = record.value(name, json());
    return value.is_string() ? value.get<std::string>() : std::string();
}

std::optional<double> number_in(const json& record, const char* name) {
    const json value = record.value(name, json());
    return value.is_number() ? std::optional(value.get<double>()) : std::nullopt;
}

json text_or_null(const std::string& text) {
    return text.empty() ? json() : json(text);
}

json to_json(const JobProgress& progress) {
    return {{"stage", progress.stage},
            {"step", progress.step},
            {"steps", progress.steps},
            {"loss", number_or_null(progress.loss)},
            {"smooth_loss", number_or_null(progress.smooth_loss)},
            {"passes", step_or_null(progress.passes)},
            {"best_step", step_or_null(progress.best_step)},
            {"compute", text_or_null(progress.compute)},
            {"compute_choice", text_or_null(progress.compute_choice)}};
}

JobProgress progress_of(const json& record) {
    return {record.at("stage"),
            record.at("step"),
            record.at("steps"),
            number_or_nan(record.at("loss")),
            number_or_nan(record.at("smooth_loss")),
            step_in(record, "passes"),
            step_in(record, "best_step"),
            step_in(record, "preview_step"),
            text_in(record, "compute"),
            text_in(record, "compute_choice")};
}

json to_json(const std::vector<JobPlace>& places) {
    json all = json::array();
    for (const JobPlace& place : places) {
        all.push_back({{"node", place.node},
                       {"workflow", place.workflow},
                       {"prompt", place.prompt},
                       {"shown", place.shown}});
    }
    return all;
}

std::vector<JobPlace> places_of(const json& record) {
    std::vector<JobPlace> places;
    for (const json& place : record.value("places", json::array())) {
        places.push_back(
            {place.at("node"), place.at("workflow"), place.at("prompt"), place.at("shown")});
    }
    return places;
}

// Nobody reads more of it. A character that was cut in two, as any other byte that is not UTF-8,
// becomes U+FFFD.
std::string shortened(const std::string& text) {
    if (text.size() <= max_text && is_utf8(text)) return text;
    return json::parse(show_json(text.substr(0, max_text))).get<std::string>();
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

std::string random_job_id() {
    std::random_device device;
    std::string id;
    for (int i = 0; i < 16; ++i) id += "0123456789abcdef"[device() & 15];
    return id;
}

void show_at(Job& job, const JobPlace& place) {
    const JobPlace latest = {shortened(place.node), shortened(place.workflow),
                             shortened(place.prompt), place.shown};
    std::erase_if(job.places, [&](const JobPlace& other) {
        return other.node == latest.node && other.workflow == latest.workflow;
    });
    job.places.push_back(latest);
    if (job.places.size() > max_places) job.places.erase(job.places.begin());
}

std::optional<Milliseconds> shown_since(const Job& job, const std::string& workflow,
                                        const std::string& node) {
    const std::string kept_workflow = shortened(workflow), kept_node = shortened(node);
    for (const JobPlace& place : job.places) {
        if (place.node == kept_node && place.workflow == kept_workflow) return place.shown;
    }
    return std::nullopt;
}

json to_record(const Job& job) {
    const JobRequest& request = job.request;
    json progress = to_json(job.progress);
    progress["preview_step"] = step_or_null(job.progress.preview_step);
    return {{"id", job.id},
            {"lineage", job.lineage},
            {"sequence", job.sequence},
            {"origin", job.origin},
            {"device", job.device},
            {"group", job.group},
            {"model", request.model},
            {"images", request.images},
            {"word", request.word},
            {"init", request.init},
            {"settings", request.settings},
            {"also", request.also},
            {"model_file", job.model_file},
            {"images_folder", job.images_folder},
            {"state", name_of(job.state)},
            {"wish", stop_request_names[static_cast<std::size_t>(job.stop_request)]},
            {"created", job.created},
            {"started", job.started},
            {"ended", job.ended},
            {"used", job.used},
            {"places", to_json(job.places)},
            {"preview_percent", job.preview_percent ? json(*job.preview_percent) : json()},
            {"progress", progress},
            {"message", job.message},
            {"token", job.token}};
}

Job job_of_record(const json& record) {
    try {
        return {record.at("id"),
                text_in(record, "lineage"),
                record.at("sequence"),
                record.at("origin"),
                record.at("device"),
                text_in(record, "group"),
                {record.at("model"), record.at("images"), record.at("word"), record.at("init"),
                 record.at("settings"), record.value("also", std::map<std::string, std::string>())},
                record.at("model_file"),
                record.at("images_folder"),
                find_name<JobState>(state_names, record.at("state")),
                find_name<StopRequest>(stop_request_names, record.at("wish")),
                record.at("created"),
                record.at("started"),
                record.at("ended"),
                progress_of(record.at("progress")),
                record.value("used", Milliseconds{0}),
                places_of(record),
                number_in(record, "preview_percent"),
                record.at("message"),
                record.at("token")};
    } catch (const json::exception&) {
        fail("job: its record is damaged");
    }
}

Job job_of_graph_record(const json& record, Milliseconds used) {
    try {
        Job job;
        job.id = record.at("key");
        job.lineage = text_in(record, "lineage");
        job.origin = "graph";
        job.request.word = record.at("word");
        const std::string state = record.at("state");
        job.state = state == "preparing" || state == "training"
                        ? JobState::running
                        : find_name<JobState>(state_names, state);
        const double created = record.at("created");
        if (!(created >= 0 && created <= max_count)) fail("job: its record is damaged");
        job.created = static_cast<Milliseconds>(1000 * created);
        job.started = job.created;
        job.ended = job.used = used;
        job.progress.step = count_in(record, "step");
        job.progress.steps = count_in(record, "steps");
        job.progress.passes = step_in(record, "passes");
        job.progress.best_step = step_in(record, "best_step");
        job.progress.preview_step = step_in(record, "preview_step");
        job.progress.compute = text_in(record, "compute");
        job.progress.compute_choice = text_in(record, "compute_choice");
        job.preview_percent = number_in(record, "preview_percent");
        job.message = record.at("message");
        show_at(job, {record.at("node"), record.at("workflow"), record.at("prompt"), used});
        return job;
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
                 {"group", text_or_null(job.group)},
                 {"created", time_or_null(job.created)},
                 {"started", time_or_null(job.started)},
                 {"ended", time_or_null(job.ended)},
                 {"model", request.model},
                 {"images", request.images.empty() ? json() : json(request.images)},
                 {"word", request.word},
                 {"init", request.init},
                 {"settings", request.settings},
                 {"also", request.also},
                 {"message", job.message},
                 {"position", nullptr},
                 {"graph", nullptr},
                 {"preview", nullptr},
                 {"token", !job.token.empty()}};
    view.update(to_json(job.progress));
    if (const auto step = job.progress.preview_step) {
        view["preview"] = {{"step", *step}, {"url", preview_address(job, *step)}};
    }
    if (!job.places.empty()) {
        const JobPlace& place = job.places.back();
        view["graph"] = {
            {"node", place.node},
            {"workflow", place.workflow},
            {"prompt", place.prompt},
            {"preview_percent", job.preview_percent ? json(*job.preview_percent) : json()}};
    }
    return view;
}

std::string preview_address(const Job& job, std::int64_t step) {
    return concat("/v1/jobs/", job.id, "/previews/", step);
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
