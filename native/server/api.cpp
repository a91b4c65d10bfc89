#include "server/api.h"

#include <algorithm>
#include <charconv>
#include <new>
#include <set>
#include <string_view>
#include <utility>

#include "core/ascii.h"
#include "core/json.h"
#include "core/log.h"
#include "io/atomic_file.h"
#include "server/openapi.h"
#include "server/submission.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::uint64_t max_file = 64u << 20;  // of a token or a preview, bytes
constexpr const char* soon = "1";              // seconds
constexpr const char* later = "10";

std::vector<std::string> split(std::string_view path) {
    std::vector<std::string> segments;
    for (;;) {
        const std::size_t slash = path.find('/');
        segments.emplace_back(path.substr(0, slash));
        if (slash == std::string_view::npos) return segments;
        path.remove_prefix(slash + 1);
    }
}

// The segments at the stars; nothing for a path of another form.
std::optional<std::vector<std::string>> match(const char* pattern, const std::string& path) {
    const auto expected = split(pattern), given = split(path);
    if (expected.size() != given.size()) return std::nullopt;
    std::vector<std::string> stars;
    for (std::size_t i = 0; i < expected.size(); ++i) {
        if (expected[i] == "*") {
            stars.push_back(given[i]);
        } else if (expected[i] != given[i]) {
            return std::nullopt;
        }
    }
    return stars;
}

// One of a number of places, held while the result lives. Throws HttpError 503.
std::shared_ptr<void> take_place(const std::shared_ptr<std::atomic<std::size_t>>& taken,
                                 std::size_t places, const char* what) {
    const std::shared_ptr<void> place(nullptr, [taken](void*) { --*taken; });
    if (++*taken > places) {
        throw HttpError(503, concat("at most ", places, " ", what, " are served at a time"),
                        {{"Retry-After", soon}});
    }
    return place;
}

std::string read_all(const fs::path& file) {
    const auto bytes = read_file(file, max_file);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// A file's name for a word, in characters that every system and header takes.
std::string file_name(const std::string& word) {
    std::string name;
    for (const char c : word.substr(0, 100)) {
        name += is_alphanumeric(c) || c == '-' || c == '_' ? c : '_';
    }
    return name + ".safetensors";
}

std::optional<std::int64_t> parse_number(const std::string& text) {
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    const bool whole = error == std::errc() && end == text.data() + text.size();
    if (!whole || number > max_number) return std::nullopt;
    return static_cast<std::int64_t>(number);
}

// No upload was asked for, but a body came: a page of another site can send plain forms, not JSON.
void check_no_form(const RequestHead& head) {
    if (head.content_length == 0) return;
    const std::string type = lower_ascii(head.header("content-type").value_or(""));
    if (!type.starts_with("application/json")) {
        throw HttpError(415, "a body needs Content-Type: application/json; none is needed here");
    }
}

void require_length(const RequestHead& head) {
    if (head.header("content-length")) return;
    throw HttpError(411, "a body with its Content-Length is needed");
}

// What a runner refuses is the request's fault.
template <class Work>
auto refusing(Work&& work) {
    try {
        return work();
    } catch (const StorageError&) {
        throw;
    } catch (const QueueFull&) {
        throw;
    } catch (const WrongState&) {
        throw;
    } catch (const Error& error) {
        throw HttpError(422, error.what());
    }
}

}  // namespace

const std::vector<Api::Route>& Api::routes() {
    static const std::vector<Route> all = {
        {"GET", "/v1/health", &Api::health},
        {"GET", "/v1/models", &Api::models},
        {"GET", "/v1/settings", &Api::settings},
        {"POST", "/v1/jobs", &Api::submit},
        {"POST", "/v1/subjects", &Api::submit_together},
        {"GET", "/v1/jobs", &Api::list},
        {"GET", "/v1/jobs/*", &Api::job},
        {"DELETE", "/v1/jobs/*", &Api::remove},
        {"GET", "/v1/jobs/*/events", &Api::events},
        {"GET", "/v1/jobs/*/curve", &Api::curve},
        {"POST", "/v1/jobs/*/show", &Api::show},
        {"POST", "/v1/jobs/*/stop", &Api::stop},
        {"POST", "/v1/jobs/*/cancel", &Api::cancel},
        {"GET", "/v1/jobs/*/token", &Api::token},
        {"GET", "/v1/jobs/*/previews/*", &Api::preview},
        {"POST", "/v1/jobs/*/extend", &Api::extend},
        {"GET", "/v1/store", &Api::store},
        {"POST", "/v1/store", &Api::set_store},
        {"DELETE", "/v1/store", &Api::clear_store},
        {"GET", "/openapi.json", &Api::openapi},
    };
    return all;
}

HttpResponse Api::answer(const HttpRequest& request) {
    try {
        check_access(request.head, access_);
        return dispatch(request);
    } catch (const HttpError& error) {
        return problem_response(error);
    } catch (const QueueFull& error) {
        return problem_response({429, error.what(), {{"Retry-After", later}}});
    } catch (const WrongState& error) {
        return problem_response({409, error.what()});
    } catch (const StorageError& error) {
        log_warning("server: ", error.what());
        return problem_response({507, without_places(error.what())});
    } catch (const std::bad_alloc&) {
        return problem_response(
            {503, "there is not enough memory for this now", {{"Retry-After", later}}});
    } catch (const std::exception& error) {
        log_warning("server: ", request.head.method, " ", request.path(), ": ", error.what());
        return problem_response({500, without_places(error.what())});
    }
}

HttpResponse Api::dispatch(const HttpRequest& request) {
    const std::string path = request.path();
    // Wherever GET is, HEAD is; the library leaves the body out.
    const std::string method = request.head.method == "HEAD" ? "GET" : request.head.method;
    std::set<std::string> allowed;
    for (const Route& route : routes()) {
        const auto stars = match(route.path, path);
        if (!stars) continue;
        if (route.method == method) return (this->*route.handler)(request, *stars);
        allowed.insert(route.method);
    }
    if (allowed.empty()) {
        throw HttpError(404, "there is nothing at this path; /openapi.json says what there is");
    }
    std::string list;
    for (const std::string& name : allowed) list += (list.empty() ? "" : ", ") + name;
    if (allowed.count("GET") > 0) list += ", HEAD";
    throw HttpError(405, concat("this path takes ", list), {{"Allow", list}});
}

HttpResponse Api::health(const HttpRequest&, const Segments&) {
    std::size_t queued = 0, running = 0;
    for (const Job& job : jobs_.list()) {
        queued += job.state == JobState::queued;
        running += job.state == JobState::running;
    }
    return json_response(
        200,
        {{"status", "ok"}, {"version", ZOODIP_VERSION}, {"queued", queued}, {"running", running}});
}

HttpResponse Api::models(const HttpRequest&, const Segments&) {
    json models = json::array();
    for (const std::string& name : roots_.models()) {
        if (is_utf8(name)) models.push_back({{"name", name}});
    }
    return json_response(200, {{"models", models}});
}

HttpResponse Api::settings(const HttpRequest&, const Segments&) {
    json schema = settings_schema(jobs_.runner().settings());
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema";
    return json_response(200, schema);
}

HttpResponse Api::openapi(const HttpRequest&, const Segments&) {
    return json_response(
        200, openapi_document(jobs_.runner().settings(), limits_, !access_.token.empty()));
}

HttpResponse Api::submit(const HttpRequest& request, const Segments&) {
    const std::string type = request.head.header("content-type").value_or("");
    check_submission_type(type);
    require_length(request.head);
    // Small bodies need no place among the large ones, whose memory is what is bounded.
    const auto place = request.head.content_length > limits_.json
                           ? take_place(uploads_, limits_.uploads, "uploads")
                           : nullptr;
    const std::string body = request.read_body();
    const Submission submission = parse_submission(type, body, limits_);
    const JobTask files = files_of(submission.request);
    if (!submission.pictures.empty()) {
        const std::lock_guard one_at_a_time(looking_);
        check_pictures(submission.pictures);
    }
    return accepted(
        refusing([&] { return jobs_.submit(submission.request, files, submission.pictures); }));
}

HttpResponse Api::submit_together(const HttpRequest& request, const Segments&) {
    const std::string body = read_json(request);
    const std::string type = request.head.header("content-type").value_or("");
    std::vector<Jobs::Subject> subjects;
    for (const JobRequest& subject : parse_subjects(type, body, limits_)) {
        subjects.push_back({subject, files_of(subject)});
    }
    json jobs = json::array();
    for (const Job& job : refusing([&] { return jobs_.submit_together(subjects); })) {
        jobs.push_back(view(job));
    }
    return json_response(202, {{"jobs", jobs}});
}

// What a request's names stand for. Throws HttpError 404.
JobTask Api::files_of(const JobRequest& request) const {
    JobTask files;
    files.model = roots_.model(request.model);
    if (!request.images.empty()) files.images = roots_.images(request.images);
    files.word = request.word;
    files.init = request.init;
    files.settings = request.settings;
    return files;
}

HttpResponse Api::extend(const HttpRequest& request, const Segments& ids) {
    const Job before = found(ids.front());
    const std::int64_t steps = steps_of(read_members(request, {"steps"}));
    const auto job = refusing([&] { return jobs_.extend(before.id, steps); });
    if (!job) return problem_response({404, "this job was deleted just now"});
    return accepted(*job);
}

HttpResponse Api::accepted(const Job& job) const {
    return json_response(202, view(job), {{"Location", "/v1/jobs/" + job.id}});
}

HttpResponse Api::list(const HttpRequest& request, const Segments&) {
    json jobs = json::array();
    if (const auto node = request.query("node")) {
        const auto shown = jobs_.shown_at(request.query("workflow").value_or(""), *node);
        if (shown) jobs.push_back(view(*shown));
        return json_response(200, {{"jobs", jobs}});
    }
    for (const Job& job : jobs_.list()) jobs.push_back(view(job));
    return json_response(200, {{"jobs", jobs}});
}

HttpResponse Api::curve(const HttpRequest&, const Segments& ids) {
    const auto shown = jobs_.view_with_curve(found(ids.front()).id);
    if (!shown) return problem_response({404, "this job was deleted just now"});
    return json_response(200, *shown);
}

// A page found the job of a node whose result its host still had.
HttpResponse Api::show(const HttpRequest& request, const Segments& ids) {
    const Job before = found(ids.front());
    const json place = read_members(request, {"node", "workflow"});
    if (!place["node"].is_string() || !place["workflow"].is_string()) {
        throw HttpError(422, "node and workflow: need texts");
    }
    const auto shown = jobs_.show(before.id, {place["node"], place["workflow"], "", 0});
    return json_response(200, view(shown.value_or(before)));
}

HttpResponse Api::store(const HttpRequest&, const Segments&) {
    const JobStore store = jobs_.store();
    return json_response(200, {{"jobs", store.jobs},
                               {"bytes", store.bytes},
                               {"limit_mb", store.limit > 0 ? json(store.limit >> 20) : json()}});
}

HttpResponse Api::set_store(const HttpRequest& request, const Segments& none) {
    const json limit = read_members(request, {"limit_mb"})["limit_mb"];
    if (!limit.is_number_integer() || limit < min_kept_mb || limit > max_kept_mb) {
        throw HttpError(
            422, concat("limit_mb: needs a whole number from ", min_kept_mb, " to ", max_kept_mb));
    }
    jobs_.set_store_limit(limit.get<std::uint64_t>());
    return store(request, none);
}

HttpResponse Api::clear_store(const HttpRequest& request, const Segments& none) {
    jobs_.clear();
    return store(request, none);
}

HttpResponse Api::job(const HttpRequest&, const Segments& ids) {
    return json_response(200, view(found(ids.front())));
}

HttpResponse Api::stop(const HttpRequest& request, const Segments& ids) {
    check_no_form(request.head);
    const Job before = found(ids.front());
    return json_response(202, view(jobs_.stop(before.id).value_or(before)));
}

HttpResponse Api::cancel(const HttpRequest& request, const Segments& ids) {
    check_no_form(request.head);
    const Job before = found(ids.front());
    return json_response(202, view(jobs_.cancel(before.id).value_or(before)));
}

HttpResponse Api::remove(const HttpRequest&, const Segments& ids) {
    jobs_.remove(found(ids.front()).id);
    return {204, "", "", {}, {}};
}

HttpResponse Api::events(const HttpRequest& request, const Segments& ids) {
    const Job job = found(ids.front());
    std::uint64_t after = 0;
    if (const auto last = request.head.header("last-event-id")) {
        const auto number = parse_number(*last);
        if (!number) throw HttpError(400, "Last-Event-ID: needs the number of an event");
        after = static_cast<std::uint64_t>(*number);
    }
    EventStream stream{jobs_.events(job.id), after,
                       take_place(streams_, limits_.streams, "event streams")};
    if (stream.log == nullptr) return problem_response({404, "this job was deleted just now"});
    return {200, "text/event-stream", "", {}, std::move(stream)};
}

HttpResponse Api::token(const HttpRequest& request, const Segments& ids) {
    const Job job = found(ids.front());
    const std::string word = request.query("word").value_or(job.request.word);
    if (word != job.request.word && !job.request.also.contains(word)) {
        throw HttpError(404, concat("job ", job.id, " learns no word of that name"));
    }
    const auto file = jobs_.token(job.id, word);
    if (!file) {
        throw HttpError(
            409, concat("job ", job.id, " is ", name_of(job.state),
                        has_ended(job.state) ? " and has no token" : " and has no token yet"));
    }
    return {200,
            "application/octet-stream",
            read_all(*file),
            {{"Content-Disposition", concat("attachment; filename=\"", file_name(word), "\"")}},
            {}};
}

HttpResponse Api::preview(const HttpRequest&, const Segments& ids) {
    const Job job = found(ids.front());
    const auto step = parse_number(ids.back());
    const auto file = step ? jobs_.preview(job.id, *step) : std::nullopt;
    if (!file) throw HttpError(404, concat("job ", job.id, " has no preview of this step"));
    const bool png = file->extension() == ".png";
    return {200, png ? "image/png" : "image/jpeg", read_all(*file), {}, {}};
}

std::string Api::without_places(const std::string& message) const {
    PlaceNames places = roots_.places();
    for (auto& place : jobs_.places()) places.push_back(std::move(place));
    return with_names(message, places);
}

json Api::view(const Job& job) const {
    return jobs_.view(job.id).value_or(to_view(job));
}

std::string Api::read_json(const HttpRequest& request) const {
    require_length(request.head);
    if (request.head.content_length > limits_.json) {
        throw HttpError(413, concat("the body may have at most ", limits_.json, " bytes"));
    }
    return request.read_body();
}

json Api::read_members(const HttpRequest& request, std::initializer_list<const char*> names) const {
    const std::string body = read_json(request);
    const std::string type = request.head.header("content-type").value_or("");
    return parse_members(type, body, names, limits_);
}

Job Api::found(const std::string& id) const {
    auto job = jobs_.find(id);
    if (!job) throw HttpError(404, "there is no job of this id; GET /v1/jobs lists them");
    return *std::move(job);
}

}  // namespace zoodip
