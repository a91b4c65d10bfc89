#include "server/openapi.h"

#include <initializer_list>
#include <string>
#include <vector>

#include "core/error.h"
#include "jobs/jobs.h"
#include "server/http_error.h"

namespace zoodip {
namespace {

using nlohmann::json;

json ref(const char* kind, const std::string& name) {
    return {{"$ref", concat("#/components/", kind, '/', name)}};
}

json schema_of(const std::string& name) {
    return ref("schemas", name);
}

json text(const std::string& description) {
    return {
        {"type", "string"}, {"minLength", 1}, {"maxLength", 1000}, {"description", description}};
}

json or_null(const char* type, const std::string& description) {
    return {{"type", {type, "null"}}, {"description", description}};
}

json whole_number(const std::string& description) {
    return {{"type", "integer"}, {"minimum", 0}, {"description", description}};
}

json object(const json& properties, const std::vector<std::string>& required) {
    return {{"type", "object"},
            {"properties", properties},
            {"required", required},
            {"additionalProperties", false}};
}

json all_required(const json& properties) {
    std::vector<std::string> names;
    for (const auto& [name, property] : properties.items()) names.push_back(name);
    return object(properties, names);
}

json setting_schema(const json& setting) {
    std::string description = setting["help"];
    if (setting.contains("unit")) description += concat(" In ", std::string(setting["unit"]), '.');
    if (setting.contains("equation")) description += concat(' ', std::string(setting["equation"]));
    json schema = {
        {"type", setting["type"]}, {"default", setting["default"]}, {"description", description}};
    for (const char* bound : {"minimum", "maximum"}) {
        if (setting.contains(bound)) schema[bound] = setting[bound];
    }
    if (setting.contains("choices")) schema["enum"] = setting["choices"];
    return schema;
}

json state_schema() {
    return {{"type", "string"},
            {"enum",
             {"queued", "running", "finished", "stopped", "interrupted", "cancelled", "failed"}},
            {"description",
             "stopped: on request, the word so far kept; interrupted: of a graph, which goes on "
             "when it is queued again; cancelled: on request; failed: message says why"}};
}

json time_schema(const char* description) {
    return {{"type", {"string", "null"}}, {"format", "date-time"}, {"description", description}};
}

json id_schema() {
    return {{"type", "string"},
            {"pattern", "^([0-9a-f]{16}|[0-9a-f]{64})$"},
            {"description", "of a graph's job its key, which stands for all its inputs"}};
}

json graph_schema() {
    json schema = all_required({{"node", {{"type", "string"}}},
                                {"workflow", {{"type", "string"}}},
                                {"prompt", {{"type", "string"}}},
                                {"preview_percent", or_null("number", "that previews may take")}});
    schema["type"] = {"object", "null"};
    schema["description"] = "the node that shows it; null for a job of the API";
    return schema;
}

json preview_schema() {
    json schema = all_required(
        {{"step", whole_number("that it was drawn at")}, {"url", {{"type", "string"}}}});
    schema["type"] = {"object", "null"};
    schema["description"] = "the latest";
    return schema;
}

json further_words() {
    return {{"type", "object"},
            {"additionalProperties", {{"type", "string"}}},
            {"description", "further words in the same captions, each with its init"}};
}

json job_properties() {
    return {
        {"id", id_schema()},
        {"state", state_schema()},
        {"origin",
         {{"type", "string"},
          {"enum", {"api", "graph"}},
          {"description", "graph: a node of ComfyUI trains; it can be watched and stopped here"}}},
        {"device", {{"type", "string"}, {"description", "does one training at a time"}}},
        {"group", or_null("string", "shared by jobs that are done together")},
        {"created", time_schema("when it was accepted")},
        {"started", time_schema("when it began first")},
        {"ended", time_schema("when it ended")},
        {"model", {{"type", "string"}}},
        {"images", or_null("string", "null: pictures of its own")},
        {"word", {{"type", "string"}}},
        {"init", {{"type", "string"}}},
        {"also", further_words()},
        {"settings", {{"type", "object"}, {"description", "those that were given"}}},
        {"stage", {{"type", "string"}, {"description", "what is being done, in a few words"}}},
        {"step", whole_number("steps done")},
        {"steps", whole_number("steps in all; 0 until known")},
        {"loss", or_null("number", "of the last step")},
        {"smooth_loss", or_null("number", "its exponential mean")},
        {"passes", or_null("integer", "of the UNet, made by the steps")},
        {"best_step", or_null("integer", "of the lowest validation loss")},
        {"compute", or_null("string", "what products are made in")},
        {"compute_choice", or_null("string", "why, where that was chosen")},
        {"speed", or_null("number", "steps a second, while it runs")},
        {"seconds_left", or_null("number", "while it runs")},
        {"foretold", or_null("number", "seconds of the whole, told before its first step")},
        {"reused", {{"type", "boolean"}, {"description", "its graph asked for it again"}}},
        {"graph", graph_schema()},
        {"preview", preview_schema()},
        {"message", {{"type", "string"}}},
        {"position", or_null("integer", "how many jobs go before it; null unless queued")},
        {"token", {{"type", "boolean"}, {"description", "whether there is a token to fetch"}}}};
}

json job_schema() {
    return all_required(job_properties());
}

json points_schema(const char* description) {
    return {{"type", "array"},
            {"items", {{"type", "array"}, {"items", {{"type", {"number", "null"}}}}}},
            {"description", description}};
}

json curve_schema() {
    json properties = job_properties();
    properties["points"] = points_schema("[step, loss, smoothed loss], at most 1000 of them");
    properties["validations"] = points_schema("[step, loss of the fixed samples]");
    return all_required(properties);
}

json place_schema() {
    return all_required({{"node", {{"type", "string"}}}, {"workflow", {{"type", "string"}}}});
}

json limit_schema() {
    return all_required(
        {{"limit_mb", {{"type", "integer"}, {"minimum", min_kept_mb}, {"maximum", max_kept_mb}}}});
}

json store_schema() {
    return all_required({{"jobs", whole_number("that are kept")},
                         {"bytes", whole_number("that they take")},
                         {"limit_mb", or_null("integer", "above which ended ones are forgotten")}});
}

json problem_schema() {
    return {{"type", "object"},
            {"description", "RFC 9457"},
            {"properties",
             {{"type", {{"type", "string"}}},
              {"title", {{"type", "string"}}},
              {"status", {{"type", "integer"}}},
              {"detail", {{"type", "string"}, {"description", "what is wrong and what to do"}}}}},
            {"required", {"type", "title", "status", "detail"}}};
}

json also_schema(const ServerLimits& limits) {
    json schema = further_words();
    schema["maxProperties"] = limits.words;
    schema["propertyNames"] = text("the word");
    schema["additionalProperties"] = text("its init");
    return schema;
}

json submission_properties(const ServerLimits& limits) {
    return {{"model", text("a name of GET /v1/models")},
            {"word", text("the new word, for example sks")},
            {"init", text("known words for the kind of thing, for example dog")},
            {"also", also_schema(limits)},
            {"settings", schema_of("Settings")}};
}

json submission_schema(const ServerLimits& limits) {
    json properties = submission_properties(limits);
    properties["images"] = text("a folder of pictures below the server's images root");
    return object(properties, {"model", "images", "word", "init"});
}

json subjects_schema(const ServerLimits& limits) {
    json properties = submission_properties(limits);
    const json subject =
        all_required({{"images", text("a folder of pictures below the server's images root")},
                      {"word", properties["word"]},
                      {"init", properties["init"]}});
    properties.erase("word");
    properties.erase("init");
    properties.erase("also");
    properties["subjects"] = {{"type", "array"},
                              {"minItems", 2},
                              {"maxItems", limits.subjects},
                              {"items", subject},
                              {"description", "each with a word of its own"}};
    return object(properties, {"model", "subjects"});
}

json form_schema(const ServerLimits& limits) {
    json properties = submission_properties(limits);
    properties["pictures"] = {
        {"type", "array"},
        {"minItems", 1},
        {"maxItems", limits.pictures},
        {"items",
         {{"type", "string"},
          {"format", "binary"},
          {"description", concat("JPEG, PNG, WebP, HEIC, AVIF, GIF or BMP, at most ",
                                 limits.picture, " bytes")}}}};
    return object(properties, {"model", "word", "init", "pictures"});
}

json extension_schema() {
    return all_required({{"steps",
                          {{"type", "integer"},
                           {"minimum", 1},
                           {"maximum", 10'000'000},
                           {"description", "how many in all; those done count"}}}});
}

json schemas(const json& declared, const ServerLimits& limits) {
    const json jobs = {{"type", "array"}, {"items", schema_of("Job")}};
    const json name = all_required({{"name", {{"type", "string"}}}});
    return {{"Settings", settings_schema(declared)},
            {"SettingsSchema", {{"type", "object"}, {"description", "a JSON Schema of Settings"}}},
            {"Submission", submission_schema(limits)},
            {"SubmissionForm", form_schema(limits)},
            {"Subjects", subjects_schema(limits)},
            {"Extension", extension_schema()},
            {"Job", job_schema()},
            {"JobWithCurve", curve_schema()},
            {"Place", place_schema()},
            {"Limit", limit_schema()},
            {"Store", store_schema()},
            {"Jobs", all_required({{"jobs", jobs}})},
            {"Models", all_required({{"models", {{"type", "array"}, {"items", name}}}})},
            {"Health", all_required({{"status", {{"type", "string"}, {"const", "ok"}}},
                                     {"version", {{"type", "string"}}},
                                     {"queued", whole_number("jobs that wait")},
                                     {"running", whole_number("jobs that run")}})},
            {"Problem", problem_schema()}};
}

json header(const char* type, const char* description) {
    return {{"schema", {{"type", type}}}, {"required", true}, {"description", description}};
}

json problem(int status) {
    json response = {
        {"description", title_of(status)},
        {"content", {{"application/problem+json", {{"schema", schema_of("Problem")}}}}}};
    if (status == 401) {
        response["headers"] = {{"WWW-Authenticate", header("string", "asks for the token")}};
    }
    if (status == 429 || status == 503) {
        response["headers"] = {{"Retry-After", header("integer", "in seconds")}};
    }
    return response;
}

// What any request may meet: access, and the guard before it.
constexpr std::initializer_list<int> everywhere = {400, 401, 403, 408, 411, 413,
                                                   414, 415, 417, 431, 503, 505};

std::string response_name(int status) {
    return concat("Problem", status);
}

json problems() {
    json out;
    std::vector<int> all = everywhere;
    all.insert(all.end(), {404, 409, 422, 429, 507});
    for (const int status : all) out[response_name(status)] = problem(status);
    return out;
}

json responses(const json& good, std::initializer_list<int> refusals) {
    json out = good;
    for (const int status : everywhere) {
        out[std::to_string(status)] = ref("responses", response_name(status));
    }
    for (const int status : refusals) {
        out[std::to_string(status)] = ref("responses", response_name(status));
    }
    return out;
}

json answer(const char* status, const std::string& type, const json& schema,
            const char* description) {
    return {{status, {{"description", description}, {"content", {{type, {{"schema", schema}}}}}}}};
}

json json_answer(const char* status, const char* schema, const char* description) {
    return answer(status, "application/json", schema_of(schema), description);
}

json operation(const char* id, const char* summary, const json& good,
               std::initializer_list<int> refusals) {
    return {{"operationId", id}, {"summary", summary}, {"responses", responses(good, refusals)}};
}

json path_parameter(const char* name, const json& schema) {
    return {{"name", name}, {"in", "path"}, {"required", true}, {"schema", schema}};
}

json query_parameter(const char* name, const char* description) {
    return {{"name", name},
            {"in", "query"},
            {"description", description},
            {"schema", {{"type", "string"}}}};
}

json id_parameter() {
    return path_parameter("id", id_schema());
}

json accepted_job(const char* description) {
    json accepted = json_answer("202", "Job", description);
    accepted["202"]["headers"] = {{"Location", header("string", "the job's path")}};
    accepted["202"]["links"] = {
        {"job", {{"operationId", "getJob"}, {"parameters", {{"id", "$response.body#/id"}}}}}};
    return accepted;
}

json submit_operation() {
    json out = operation("submitJob", "Learn a word", accepted_job("the job, on the disk"),
                         {404, 422, 429, 507});
    out["requestBody"] = {{"required", true},
                          {"content",
                           {{"application/json", {{"schema", schema_of("Submission")}}},
                            {"multipart/form-data",
                             {{"schema", schema_of("SubmissionForm")},
                              {"encoding",
                               {{"settings", {{"contentType", "application/json"}}},
                                {"also", {{"contentType", "application/json"}}}}}}}}}};
    return out;
}

json with_body(json operation, const char* schema) {
    operation["requestBody"] = {
        {"required", true}, {"content", {{"application/json", {{"schema", schema_of(schema)}}}}}};
    return operation;
}

json extend_operation() {
    return with_body(operation("extendJob", "Learn on from where an ended job was, to more steps",
                               accepted_job("a new job; the one before stays as it is"),
                               {404, 409, 422, 429, 507}),
                     "Extension");
}

json show_operation() {
    return with_body(operation("showJob", "Make a node of a graph show a job",
                               json_answer("200", "Job", "the job"), {404, 422, 507}),
                     "Place");
}

json store_path() {
    const json good = json_answer("200", "Store", "what is kept");
    return {{"get", operation("getStore", "How much is kept", good, {})},
            {"post", with_body(operation("setStoreLimit", "How much may be kept", good, {422, 507}),
                               "Limit")},
            {"delete", operation("clearStore", "Forget every job that has ended", good, {507})}};
}

json events_operation() {
    // Without a schema: OpenAPI 3.1 has none for what an event is.
    const json good = {
        {"200",
         {{"description", "server-sent events: state, stage, note, step, validation, preview"},
          {"content", {{"text/event-stream", json::object()}}}}}};
    json out = operation("followJob", "What happens to a job, as it happens", good, {404});
    out["parameters"] = {
        {{"name", "Last-Event-ID"},
         {"in", "header"},
         {"description", "go on behind this event"},
         {"schema", {{"type", "integer"}, {"minimum", 0}, {"maximum", max_number}}}}};
    return out;
}

json token_operation() {
    json good = answer("200", "application/octet-stream",
                       {{"type", "string"}, {"format", "binary"}}, "a .safetensors file");
    good["200"]["headers"] = {{"Content-Disposition", header("string", "a name for the file")}};
    return operation("getToken", "The word that was learned", good, {404, 409});
}

json preview_operation() {
    json good = answer("200", "image/png", {{"type", "string"}, {"format", "binary"}},
                       "what the word was at this step");
    good["200"]["content"]["image/jpeg"] = good["200"]["content"]["image/png"];
    return operation("getPreview", "A picture drawn while a word was learned", good, {404});
}

json job_paths() {
    const json ended = {{"204", {{"description", "it is gone"}}}};
    json one = {
        {"parameters", {id_parameter()}},
        {"get", operation("getJob", "A job", json_answer("200", "Job", "the job"), {404})},
        {"delete", operation("deleteJob", "Forget a job that has ended", ended, {404, 409, 507})}};
    const auto with_id = [](const char* method, json made) {
        return json{{"parameters", {id_parameter()}}, {method, std::move(made)}};
    };
    const json accepted = json_answer("202", "Job", "the job; it ends soon");
    json token = with_id("get", token_operation());
    token["parameters"].push_back(query_parameter("word", "which, where the job learns several"));
    json preview = with_id("get", preview_operation());
    preview["parameters"].push_back(
        path_parameter("step", {{"type", "integer"}, {"minimum", 0}, {"maximum", max_number}}));
    return {{"/v1/jobs/{id}", one},
            {"/v1/jobs/{id}/events", with_id("get", events_operation())},
            {"/v1/jobs/{id}/stop",
             with_id("post", operation("stopJob", "Stop a job, keeping the word so far", accepted,
                                       {404, 409}))},
            {"/v1/jobs/{id}/cancel",
             with_id("post",
                     operation("cancelJob", "Stop a job, keeping nothing", accepted, {404, 409}))},
            {"/v1/jobs/{id}/extend", with_id("post", extend_operation())},
            {"/v1/jobs/{id}/curve",
             with_id("get", operation("getCurve", "A job with the losses of its steps",
                                      json_answer("200", "JobWithCurve", "the job"), {404}))},
            {"/v1/jobs/{id}/show", with_id("post", show_operation())},
            {"/v1/jobs/{id}/token", token},
            {"/v1/jobs/{id}/previews/{step}", preview}};
}

json paths() {
    const auto get = [](const char* id, const char* summary, const char* schema) {
        return json{{"get", operation(id, summary, json_answer("200", schema, summary), {})}};
    };
    json jobs = get("listJobs", "All jobs, newest first", "Jobs");
    jobs["get"]["parameters"] = {
        query_parameter("node", "only the job that this node of a graph shows"),
        query_parameter("workflow", "the graph of the node")};
    jobs["post"] = submit_operation();
    json all = {{"/v1/health", get("getHealth", "Whether the server answers", "Health")},
                {"/v1/models", get("listModels", "The models that jobs can name", "Models")},
                {"/v1/settings",
                 get("getSettings", "The settings of a job, as a JSON Schema", "SettingsSchema")},
                {"/v1/store", store_path()},
                {"/v1/subjects",
                 {{"post", with_body(operation("submitSubjects",
                                               "Learn several words together, over one copy of "
                                               "the model: a job each",
                                               json_answer("202", "Jobs", "the jobs, on the disk"),
                                               {404, 422, 429, 507}),
                                     "Subjects")}}},
                {"/v1/jobs", jobs}};
    all.update(job_paths());
    return all;
}

}  // namespace

json settings_schema(const json& declared) {
    json properties = json::object();
    for (const json& setting : declared) {
        properties[setting["name"].get<std::string>()] = setting_schema(setting);
    }
    return object(properties, {});
}

json openapi_document(const json& declared, const ServerLimits& limits, bool token) {
    json document = {
        {"openapi", "3.1.0"},
        {"info",
         {{"title", "zoodip"},
          {"version", ZOODIP_VERSION},
          {"summary", "Teach a frozen, quantised Stable Diffusion a new word"},
          {"license", {{"name", "Apache-2.0"}, {"identifier", "Apache-2.0"}}}}},
        {"paths", paths()},
        {"components", {{"schemas", schemas(declared, limits)}, {"responses", problems()}}}};
    if (token) {
        document["components"]["securitySchemes"] = {
            {"token", {{"type", "http"}, {"scheme", "bearer"}}}};
        document["security"] = {{{"token", json::array()}}};
    }
    return document;
}

}  // namespace zoodip
