// What the API says of itself is what it does.
#include <algorithm>
#include <cctype>
#include <cmath>
#include <regex>
#include <set>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "api_fixture.h"
#include "graph_jobs.h"

#include "server/openapi.h"

namespace zoodip {
namespace {

using nlohmann::json;

class OpenapiTest : public ApiFixture {
  protected:
    HttpResponse ask(const std::string& method, const std::string& target) {
        RequestHead head;
        head.method = method;
        head.target = target;
        head.headers = {{"host", "localhost:1"}};
        return api.answer({head, [] { return std::string(); }});
    }
    const json document = openapi_document(FakeRunner().settings(), ServerLimits(), false);
    Api api{jobs, roots, {"127.0.0.1", 1, ""}, {}};
};

// All values of one name, anywhere.
void collect(const json& value, const std::string& name, std::set<std::string>& into) {
    if (value.is_object() && value.contains(name) && value[name].is_string()) {
        into.insert(value[name].get<std::string>());
    }
    if (!value.is_structured()) return;
    for (const auto& one : value) collect(one, name, into);
}

// The names in braces of a path.
std::set<std::string> parameters_in(const std::string& path) {
    std::set<std::string> names;
    for (std::size_t open = 0; (open = path.find('{', open)) != std::string::npos; ++open) {
        names.insert(path.substr(open + 1, path.find('}', open) - open - 1));
    }
    return names;
}

// A path with values for its names.
std::string filled(std::string path) {
    for (const std::string& name : parameters_in(path)) {
        const std::string in_braces = "{" + name + "}";
        path.replace(path.find(in_braces), in_braces.size(),
                     name == "step" ? "1" : "0123456789abcdef");
    }
    return path;
}

const std::set<std::string> methods = {"get", "post", "put", "delete", "patch"};

// Asking the API itself: where a method is known, the answer is not 405, and Allow names them all.
TEST_F(OpenapiTest, HasEveryRouteAndNoOther) {
    for (const auto& [path, item] : document["paths"].items()) {
        const HttpResponse refused = ask("PATCH", filled(path));
        ASSERT_EQ(refused.status, 405) << path;
        std::string allowed = " " + refused.headers.at(0).second + ",";
        for (const std::string& method : methods) {
            std::string upper;
            for (const char c : method) upper += static_cast<char>(std::toupper(c));
            const bool known = allowed.find(" " + upper + ",") != std::string::npos;
            EXPECT_EQ(item.contains(method), known) << method << path;
        }
    }
}

// The contract's paths, so that a route that both forgot is missed.
TEST_F(OpenapiTest, HasThePathsOfTheContract) {
    std::set<std::string> paths;
    for (const auto& [path, item] : document["paths"].items()) paths.insert(path);
    EXPECT_EQ(paths,
              (std::set<std::string>{
                  "/v1/health", "/v1/models", "/v1/settings", "/v1/store", "/v1/jobs",
                  "/v1/subjects", "/v1/jobs/{id}", "/v1/jobs/{id}/events", "/v1/jobs/{id}/curve",
                  "/v1/jobs/{id}/show", "/v1/jobs/{id}/stop", "/v1/jobs/{id}/cancel",
                  "/v1/jobs/{id}/extend", "/v1/jobs/{id}/token", "/v1/jobs/{id}/previews/{step}"}));
    for (const std::string& path : paths) EXPECT_NE(ask("PUT", filled(path)).status, 404);
}

TEST_F(OpenapiTest, PointsToWhatIsThere) {
    std::set<std::string> references;
    collect(document, "$ref", references);
    EXPECT_GT(references.size(), 10u);
    for (const std::string& reference : references) {
        ASSERT_TRUE(reference.starts_with("#/")) << reference;
        EXPECT_TRUE(document.contains(json::json_pointer(reference.substr(1)))) << reference;
    }
    for (const char* kind : {"schemas", "responses"}) {
        for (const auto& [name, value] : document["components"][kind].items()) {
            const bool is_used = references.count(concat("#/components/", kind, '/', name)) > 0;
            EXPECT_TRUE(is_used) << name << " is for nobody";
        }
    }
}

TEST_F(OpenapiTest, NamesEveryOperationOnceAndItsParameters) {
    std::set<std::string> ids;
    std::size_t operations = 0;
    for (const auto& [path, item] : document["paths"].items()) {
        std::set<std::string> declared;
        for (const json& parameter : item.value("parameters", json::array())) {
            if (parameter["in"] == "path") declared.insert(parameter["name"]);
        }
        EXPECT_EQ(declared, parameters_in(path)) << path;
        for (const auto& [method, operation] : item.items()) {
            if (methods.count(method) == 0) continue;
            ++operations;
            ids.insert(operation["operationId"].get<std::string>());
            EXPECT_FALSE(operation["summary"].get<std::string>().empty());
        }
    }
    EXPECT_EQ(ids.size(), operations);
}

TEST_F(OpenapiTest, DescribesEveryMemberOfAJob) {
    const Job job = submit(jobs, "a");
    const json shown = json::parse(ask("GET", "/v1/jobs/" + job.id).body);
    const json& schema = document["components"]["schemas"]["Job"];
    std::set<std::string> members, described;
    for (const auto& [name, value] : shown.items()) members.insert(name);
    for (const auto& [name, value] : schema["properties"].items()) described.insert(name);
    EXPECT_EQ(members, described);
    EXPECT_EQ(schema["required"].size(), described.size());
}

// What does not fit a schema, as far as the document uses schemas; "" where all does.
std::string misfit(const json& document, const json& schema, const json& value) {
    if (schema.contains("$ref")) {
        const auto reference = schema["$ref"].get<std::string>().substr(1);
        return misfit(document, document.at(json::json_pointer(reference)), value);
    }
    const auto is = [&](const std::string& type) {
        if (type == "integer") return value.is_number_integer();
        return type == "number" ? value.is_number() : type == value.type_name();
    };
    if (schema.contains("type")) {
        const json& type = schema["type"];
        bool fits = false;
        for (const json& one : type.is_array() ? type : json::array({type})) fits = fits || is(one);
        if (!fits) return concat(value.dump(), " is no ", type.dump());
    }
    if (value.is_null()) return "";
    if (schema.contains("const") && value != schema["const"]) return value.dump();
    if (schema.contains("minimum") && value < schema["minimum"]) return value.dump();
    if (schema.contains("enum")) {
        const json& all = schema["enum"];
        if (std::find(all.begin(), all.end(), value) == all.end()) return value.dump();
    }
    if (schema.contains("pattern") &&
        !std::regex_search(value.get<std::string>(), std::regex(std::string(schema["pattern"])))) {
        return value.dump();
    }
    if (value.is_array() && schema.contains("items")) {
        for (const json& one : value) {
            const std::string bad = misfit(document, schema["items"], one);
            if (!bad.empty()) return bad;
        }
    }
    if (!value.is_object()) return "";
    for (const json& name : schema.value("required", json::array())) {
        if (!value.contains(name)) return concat(name, " is missing");
    }
    for (const auto& [name, member] : value.items()) {
        const json properties = schema.value("properties", json::object());
        if (!properties.contains(name)) {
            if (schema.value("additionalProperties", true)) continue;
            return concat(name, " is not described");
        }
        const std::string bad = misfit(document, properties[name], member);
        if (!bad.empty()) return concat(name, ": ", bad);
    }
    return "";
}

TEST_F(OpenapiTest, DescribesItsAnswers) {
    const std::string key = train_to_end(jobs, "g");
    const auto running = train(jobs, "r", new_key(), {"2", "w", "p", 0});
    running->on_compute("int8", "it is the quickest");
    running->on_passes(3);
    running->on_forecast(1, 10);
    running->on_step(1, 10, 0.5, std::nan(""));
    running->on_validation(1, 0.5, true);
    running->preview(1, "a jpeg");
    const auto unnamed = jobs.begin({"3", "w", "p", 0}, "b", 10);
    const std::string waiting = submit(jobs, "a").id;
    std::size_t asked = 0;
    const auto expect_fit = [&](const std::string& path, const std::string& target) {
        const HttpResponse response = ask("GET", target);
        ASSERT_EQ(response.status, 200) << target;
        const json& described = document["paths"][path]["get"]["responses"]["200"];
        const json& schema = described["content"]["application/json"]["schema"];
        EXPECT_EQ(misfit(document, schema, json::parse(response.body)), "") << target;
        ++asked;
    };
    for (const std::string& id : {id_of(running), key, id_of(unnamed), waiting}) {
        expect_fit("/v1/jobs/{id}", "/v1/jobs/" + id);
        expect_fit("/v1/jobs/{id}/curve", "/v1/jobs/" + id + "/curve");
    }
    for (const char* path : {"/v1/health", "/v1/models", "/v1/settings", "/v1/store", "/v1/jobs"}) {
        expect_fit(path, path);
    }
    jobs.set_store_limit(16);
    expect_fit("/v1/store", "/v1/store");
    expect_fit("/v1/jobs", "/v1/jobs?node=2&workflow=w");
    EXPECT_EQ(asked, 15u);
    // And it would be seen.
    EXPECT_NE(misfit(document, document["components"]["schemas"]["Store"], {{"jobs", 1}}), "");
    EXPECT_NE(misfit(document, document["components"]["schemas"]["Job"], json()), "");
}

TEST_F(OpenapiTest, HasSettingsWithTheirRanges) {
    const json schema = settings_schema(FakeRunner().settings());
    EXPECT_EQ(schema["type"], "object");
    EXPECT_EQ(schema["additionalProperties"], false);
    EXPECT_EQ(schema["properties"]["steps"], (json{{"type", "integer"},
                                                   {"default", 3},
                                                   {"description", "How many."},
                                                   {"minimum", 1},
                                                   {"maximum", 100}}));
    EXPECT_EQ(schema["properties"]["device"]["enum"], json({"cpu", "cuda"}));
    EXPECT_EQ(schema["properties"]["device"]["description"], "Where. In device. d");
    EXPECT_EQ(document["components"]["schemas"]["Settings"], schema);
}

TEST_F(OpenapiTest, SaysWhetherATokenIsNeeded) {
    EXPECT_FALSE(document.contains("security"));
    const json with_token = openapi_document(FakeRunner().settings(), {}, true);
    EXPECT_EQ(with_token["components"]["securitySchemes"]["token"]["scheme"], "bearer");
    EXPECT_TRUE(with_token["security"][0].contains("token"));
}

TEST_F(OpenapiTest, HasTheLimitsInForce) {
    ServerLimits limits;
    limits.pictures = 3;
    const json limited = openapi_document(FakeRunner().settings(), limits, false);
    EXPECT_EQ(
        limited["components"]["schemas"]["SubmissionForm"]["properties"]["pictures"]["maxItems"],
        3);
}

}  // namespace
}  // namespace zoodip
