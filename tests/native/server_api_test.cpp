// The API without sockets: every route, and every refusal.
#include <cmath>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "api_fixture.h"
#include "full_disk.h"
#include "graph_jobs.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Words = std::vector<std::string>;

class ApiTest : public ApiFixture {
  protected:
    HttpResponse ask(const std::string& method, const std::string& target,
                     const HttpHeaders& headers = {}, const std::string& body = "") {
        RequestHead head;
        head.method = method;
        head.target = target;
        head.headers = headers;
        head.headers.emplace_back("host", "localhost:1");
        head.content_length = body.size();
        return api.answer({head, [&] { return body; }});
    }
    HttpResponse post(const std::string& body, const std::string& type = "application/json") {
        return ask("POST", "/v1/jobs",
                   {{"content-type", type}, {"content-length", std::to_string(body.size())}}, body);
    }
    HttpResponse post_to(const std::string& target, const std::string& body,
                         const std::string& type = "application/json") {
        return ask("POST", target,
                   {{"content-type", type}, {"content-length", std::to_string(body.size())}}, body);
    }
    // Accepts a job, and returns its id.
    std::string accept(const std::string& word) {
        const HttpResponse response = post(submission(word));
        EXPECT_EQ(response.status, 202) << response.body;
        return json::parse(response.body)["id"];
    }

    ServerLimits limits{.streams = 2, .uploads = 1};
    Api api{jobs, roots, {"127.0.0.1", 1, ""}, limits};
};

std::string header(const HttpResponse& response, const std::string& name) {
    for (const auto& [known, value] : response.headers) {
        if (known == name) return value;
    }
    return "";
}

// Expects a problem as RFC 9457 has it, and returns its detail.
std::string expect_problem(const HttpResponse& response, int status) {
    EXPECT_EQ(response.status, status) << response.body;
    EXPECT_EQ(response.content_type, "application/problem+json");
    const json problem = parse_json(response.body);
    if (!problem.is_object()) return "";
    EXPECT_EQ(problem.value("type", ""), "about:blank");
    EXPECT_EQ(problem.value("status", 0), status);
    EXPECT_EQ(problem.value("title", ""), title_of(status));
    EXPECT_NE(problem.value("title", "Unknown"), "Unknown");
    EXPECT_NE(problem.value("detail", ""), "");
    return problem.value("detail", "");
}

json expect_json(const HttpResponse& response, int status = 200) {
    EXPECT_EQ(response.status, status) << response.body;
    EXPECT_EQ(response.content_type, "application/json");
    return parse_json(response.body);
}

TEST_F(ApiTest, SaysHowItIs) {
    EXPECT_EQ(expect_json(ask("GET", "/v1/health")),
              (json{{"status", "ok"}, {"version", ZOODIP_VERSION}, {"queued", 0}, {"running", 0}}));
    accept("a");
    accept("b");
    ASSERT_TRUE(runner->waits("a"));
    const json busy = expect_json(ask("GET", "/v1/health?x=1"));
    EXPECT_EQ(busy["queued"], 1);
    EXPECT_EQ(busy["running"], 1);
}

TEST_F(ApiTest, ListsModelsAndSettings) {
    write_model(root / "models/not utf8 \xff.safetensors");
    EXPECT_EQ(expect_json(ask("GET", "/v1/models")),
              parse_json(R"({"models": [{"name": "m.safetensors"}]})"));
    const json schema = expect_json(ask("GET", "/v1/settings"));
    EXPECT_EQ(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    EXPECT_EQ(schema["properties"]["steps"]["maximum"], 100);
    EXPECT_EQ(expect_json(ask("GET", "/openapi.json"))["openapi"], "3.1.0");
}

std::string together(const Words& words) {
    json subjects = json::array();
    for (const std::string& word : words) {
        subjects.push_back({{"images", "dog"}, {"word", word}, {"init", "dog"}});
    }
    return json{{"model", "m.safetensors"}, {"subjects", subjects}}.dump();
}

TEST_F(ApiTest, AcceptsSeveralSubjectsAsOneGroup) {
    const json made = expect_json(post_to("/v1/subjects", together({"a", "b"})), 202)["jobs"];
    ASSERT_EQ(made.size(), 2u);
    EXPECT_EQ(made[0]["word"], "a");
    EXPECT_EQ(made[1]["word"], "b");
    EXPECT_EQ(made[0]["group"], made[1]["group"]);
    EXPECT_TRUE(made[0]["group"].is_string());
    EXPECT_EQ(finish(made[0]["id"]).state, JobState::finished);
    EXPECT_EQ(finish(made[1]["id"]).state, JobState::finished);
    EXPECT_EQ(runner->groups(), std::vector<Words>({{"a", "b"}}));
    const std::string model = (root / "models/m.safetensors").string();
    EXPECT_EQ(runner->begun().at(1).training.model.string(), model);
}

TEST_F(ApiTest, RefusesSubjectsByWhatIsWrongWithThem) {
    const auto refusal = [&](const json& body, int status) {
        return expect_problem(post_to("/v1/subjects", body.dump()), status);
    };
    const json good = json::parse(together({"a", "b"}));
    const auto with = [&](const char* pointer, const json& value) {
        json body = good;
        body[json::json_pointer(pointer)] = value;
        return body;
    };
    EXPECT_EQ(refusal(with("/subjects", json::array()), 422), "subjects: needs a list of 2 to 64");
    EXPECT_EQ(refusal(with("/subjects", "a"), 422), "subjects: needs a list of 2 to 64");
    EXPECT_EQ(refusal(with("/subjects/1", 5), 422), "subjects: each needs to be an object");
    EXPECT_EQ(refusal(with("/subjects/1/word", 5), 422), "word: needs text");
    EXPECT_NE(refusal(with("/subjects/1/seed", 5), 422).find("there is no 'seed'"),
              std::string::npos);
    EXPECT_NE(refusal(with("/images", "dog"), 422).find("there is no 'images'"), std::string::npos);
    EXPECT_NE(refusal(with("/subjects/1/images", "none"), 404), "");
    EXPECT_NE(refusal(with("/model", "none"), 404), "");
    EXPECT_EQ(refusal(with("/subjects/1/word", "refused"), 422),
              "word: is refused, for token.safetensors");
    EXPECT_EQ(refusal(json::parse(together({"a", "b", "c"})), 429),
              "the queue has room for 2 jobs, of which 0 wait already: no place for 3 more");
    expect_problem(post_to("/v1/subjects", "[", "application/json"), 400);
    expect_problem(post_to("/v1/subjects", "a=b", "application/x-www-form-urlencoded"), 415);
    EXPECT_TRUE(jobs.list().empty());
}

TEST_F(ApiTest, AcceptsAJob) {
    const HttpResponse response = post(submission("a"));
    const json job = expect_json(response, 202);
    const std::string id = job["id"];
    EXPECT_EQ(header(response, "Location"), "/v1/jobs/" + id);
    EXPECT_EQ(job["word"], "a");
    EXPECT_EQ(job["images"], "dog");
    EXPECT_EQ(job["origin"], "api");
    ASSERT_TRUE(runner->waits("a"));
    const JobTask training = runner->begun().at(0).training;
    EXPECT_EQ(training.model, root / "models/m.safetensors");
    EXPECT_EQ(training.images, root / "images/dog");
    const std::string next = accept("b");
    EXPECT_EQ(expect_json(ask("GET", "/v1/jobs/" + id))["position"], nullptr);
    EXPECT_EQ(expect_json(ask("GET", "/v1/jobs/" + next))["position"], 0);
    const json list = expect_json(ask("GET", "/v1/jobs"))["jobs"];
    ASSERT_EQ(list.size(), 2u);
    EXPECT_EQ(list[0]["id"], next);
    EXPECT_EQ(list[1]["id"], id);
}

TEST_F(ApiTest, ExtendsAJobThatHasEnded) {
    const std::string id = accept("a");
    const auto extend = [&](const std::string& of, const std::string& body) {
        return ask(
            "POST", "/v1/jobs/" + of + "/extend",
            {{"content-type", "application/json"}, {"content-length", std::to_string(body.size())}},
            body);
    };
    ASSERT_TRUE(runner->waits("a"));
    expect_problem(extend(id, R"({"steps": 7})"), 409);  // it runs
    runner->let("a");
    ended(jobs, id);
    for (const char* bad :
         {"{}", R"({"steps": 0})", R"({"steps": 7.5})", R"({"steps": "7"})", R"({"steps": 1e300})",
          R"({"steps": 10000001})", R"({"steps": 7, "word": "b"})"}) {
        expect_problem(extend(id, bad), 422);
    }
    expect_problem(extend(id, "{"), 400);
    expect_problem(extend("0123456789abcdef", R"({"steps": 7})"), 404);
    expect_problem(
        ask("POST", "/v1/jobs/" + id + "/extend",
            {{"content-type", "text/plain"}, {"content-length", "12"}}, R"({"steps": 7})"),
        415);
    expect_problem(
        ask("POST", "/v1/jobs/" + id + "/extend", {{"content-type", "application/json"}}), 411);
    EXPECT_EQ(jobs.list().size(), 1u);
    const HttpResponse response = extend(id, R"({"steps": 7})");
    const json job = expect_json(response, 202);
    EXPECT_EQ(header(response, "Location"), "/v1/jobs/" + job["id"].get<std::string>());
    EXPECT_EQ(job["settings"]["steps"], 7);
    EXPECT_EQ(job["word"], "a");
    ended(jobs, job["id"]);
    EXPECT_TRUE(runner->begun().back().goes_on);
}

constexpr const char* form_type = "multipart/form-data; boundary=b";

std::string form_of(const std::string& picture) {
    std::string body;
    for (const auto& [name, value] : std::multimap<std::string, std::string>{
             {"model", "m.safetensors"}, {"word", "a"}, {"init", "dog"}}) {
        body +=
            "--b\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value + "\r\n";
    }
    return body +
           "--b\r\nContent-Disposition: form-data; name=\"pictures\"; filename=\"a "
           "dog.png\"\r\n\r\n" +
           picture + "\r\n--b--";
}

TEST_F(ApiTest, AcceptsPicturesInAForm) {
    const json job = expect_json(post(form_of(sent_picture()), form_type), 202);
    EXPECT_TRUE(job["images"].is_null());
    ASSERT_TRUE(runner->waits("a"));
    EXPECT_EQ(read_text(runner->begun().at(0).training.images / "001.png"), sent_picture());
}

TEST_F(ApiTest, LooksAtPicturesBeforeItTakesThem) {
    const std::string whole = sent_picture();
    for (const std::string& bytes : {whole.substr(0, whole.size() / 2), std::string("a text")}) {
        EXPECT_EQ(
            expect_problem(post(form_of(bytes), form_type), 422).rfind("pictures: a dog.png", 0),
            0u);
    }
    EXPECT_TRUE(jobs.list().empty());
    EXPECT_FALSE(runner->has_begun("a"));
}

TEST_F(ApiTest, NamesNoPlaceOfTheServer) {
    runner->plan("a", {.end = FakeRunner::Plan::End::error,
                       .message = concat((root / "images/dog/1.txt").string(), ": is odd, as ",
                                         (root / "models/m.safetensors").string(), " is")});
    const std::string id = accept("a");
    ASSERT_TRUE(runner->waits("a"));
    runner->let("a");
    ASSERT_TRUE(eventually([&] { return jobs.find(id)->state == JobState::failed; }));
    const json job = expect_json(ask("GET", "/v1/jobs/" + id));
    EXPECT_EQ(job["message"], "dog/1.txt: is odd, as m.safetensors is");
    const FullDisk full(50);
    EXPECT_EQ(expect_problem(post(submission("b")), 507).find(root.path().string()),
              std::string::npos);
}

TEST_F(ApiTest, RefusesWhatIsNoSubmission) {
    const auto with = [&](const char* name, const json& value) {
        json body = parse_json(submission("a"));
        body[name] = value;
        return post(body.dump());
    };
    expect_problem(post("{"), 400);
    expect_problem(post("{}"), 422);
    expect_problem(post("a=b", "application/x-www-form-urlencoded"), 415);
    expect_problem(post("", ""), 415);
    expect_problem(ask("POST", "/v1/jobs", {{"content-type", "application/json"}}), 411);
    expect_problem(with("model", "../m.safetensors"), 422);
    expect_problem(with("images", "/etc"), 422);
    EXPECT_NE(expect_problem(with("model", "other"), 404).find("other"), std::string::npos);
    EXPECT_NE(expect_problem(with("images", "cat"), 404).find("cat"), std::string::npos);
    EXPECT_EQ(expect_problem(with("word", "refused"), 422),
              "word: is refused, for token.safetensors");
    EXPECT_TRUE(jobs.list().empty());
}

TEST_F(ApiTest, SaysThatTheQueueIsFull) {
    accept("a");
    ASSERT_TRUE(runner->waits("a"));
    accept("b");
    accept("c");
    const HttpResponse full = post(submission("d"));
    expect_problem(full, 429);
    EXPECT_NE(header(full, "Retry-After"), "");
}

TEST_F(ApiTest, SaysThatTheDiskIsFull) {
    const FullDisk full(50);
    expect_problem(post(submission("a")), 507);
}

TEST_F(ApiTest, ReadsSoManyLargeBodiesAtATime) {
    RequestHead head;
    head.method = "POST";
    head.target = "/v1/jobs";
    head.headers = {{"host", "localhost:1"}, {"content-type", "application/json"}};
    head.content_length = limits.json + 1;
    head.headers.emplace_back("content-length", std::to_string(head.content_length));
    const auto small = [] { return submission("s"); };
    const auto within = [&] {
        const HttpResponse refused = api.answer({head, small});
        expect_problem(refused, 503);
        EXPECT_NE(header(refused, "Retry-After"), "");
        accept("b");                      // a small body needs no place
        EXPECT_TRUE(runner->waits("b"));  // it runs, so that the queue has room for the others
        return submission("a");
    };
    expect_json(api.answer({head, within}), 202);
    expect_json(api.answer({head, small}), 202);  // its place is free again
}

TEST_F(ApiTest, StopsAndCancels) {
    const std::string first = accept("a"), second = accept("b");
    ASSERT_TRUE(runner->waits("a"));
    EXPECT_EQ(expect_json(ask("POST", "/v1/jobs/" + second + "/cancel"), 202)["state"],
              "cancelled");
    expect_json(
        ask("POST", "/v1/jobs/" + first + "/stop", {{"content-type", "application/json"}}, "{}"),
        202);
    EXPECT_EQ(ended(jobs, first).state, JobState::stopped);
    for (const char* what : {"/stop", "/cancel"}) {
        EXPECT_NE(expect_problem(ask("POST", "/v1/jobs/" + first + what), 409).find(first),
                  std::string::npos);
    }
    // A page of another site can send a form without asking.
    expect_problem(ask("POST", "/v1/jobs/" + second + "/stop", {}, "a=b"), 415);
    expect_problem(
        ask("POST", "/v1/jobs/" + second + "/cancel", {{"content-type", "text/plain"}}, "{}"), 415);
}

TEST_F(ApiTest, DeletesOnlyWhatHasEnded) {
    const std::string id = accept("a");
    ASSERT_TRUE(runner->waits("a"));
    expect_problem(ask("DELETE", "/v1/jobs/" + id), 409);
    finish(id);
    const HttpResponse gone = ask("DELETE", "/v1/jobs/" + id);
    EXPECT_EQ(gone.status, 204);
    EXPECT_EQ(gone.body, "");
    expect_problem(ask("DELETE", "/v1/jobs/" + id), 404);
    expect_problem(ask("GET", "/v1/jobs/" + id), 404);
    expect_problem(ask("GET", "/v1/jobs/" + id + "/events"), 404);
}

TEST_F(ApiTest, HandsOutTheTokenAndThePreviews) {
    const std::string id = accept("s k\"s/\xc3\xa9");
    ASSERT_TRUE(runner->waits("s k\"s/\xc3\xa9"));
    EXPECT_NE(expect_problem(ask("GET", "/v1/jobs/" + id + "/token"), 409).find("yet"),
              std::string::npos);
    finish(id);
    const HttpResponse token = ask("GET", "/v1/jobs/" + id + "/token");
    EXPECT_EQ(token.status, 200);
    EXPECT_EQ(token.content_type, "application/octet-stream");
    EXPECT_EQ(token.body, "a token of s k\"s/\xc3\xa9");
    EXPECT_EQ(header(token, "Content-Disposition"),
              "attachment; filename=\"s_k_s___.safetensors\"");
    const HttpResponse preview = ask("GET", "/v1/jobs/" + id + "/previews/1");
    EXPECT_EQ(preview.status, 200);
    EXPECT_EQ(preview.content_type, "image/png");
    EXPECT_EQ(preview.body, "a picture");
    for (const char* step : {"2", "", "-1", "x", "1x", "0x1", "99999999999999999999", "..", "%31",
                             "9223372036854775807"}) {
        expect_problem(ask("GET", "/v1/jobs/" + id + "/previews/" + step), 404);
    }
}

TEST_F(ApiTest, ShowsTheDrawingsOfAGraph) {
    const auto graph = train(jobs, "g");
    graph->preview(7, "a jpeg");
    const HttpResponse preview = ask("GET", "/v1/jobs/" + id_of(graph) + "/previews/7");
    EXPECT_EQ(preview.content_type, "image/jpeg");
    EXPECT_EQ(preview.body, "a jpeg");
    EXPECT_EQ(expect_json(ask("GET", "/v1/jobs/" + id_of(graph)))["origin"], "graph");
}

TEST_F(ApiTest, FindsWhatANodeShows) {
    const std::string key = train_to_end(jobs, "g", new_key(), {"1:2", "w x", "p", 0});
    const auto shown = [&](const std::string& query) {
        Words ids;
        const json found = expect_json(ask("GET", "/v1/jobs?" + query));
        for (const json& job : found["jobs"]) ids.push_back(job["id"]);
        return ids;
    };
    EXPECT_EQ(shown("node=1%3A2&workflow=w+x"), Words{key});
    EXPECT_EQ(shown("workflow=w%20x&node=1:2"), Words{key});
    EXPECT_EQ(shown("node=1:2"), Words());  // the graph without a name
    EXPECT_EQ(shown("node=2&workflow=w+x"), Words());
    EXPECT_EQ(shown("workflow=w+x"), Words{key});  // all jobs
    for (const char* bad : {"node=%", "node=1&workflow=%zz", "node=%ff"}) {
        expect_problem(ask("GET", std::string("/v1/jobs?") + bad), 400);
    }
}

TEST_F(ApiTest, ShowsTheCurve) {
    const auto graph = train(jobs, "g");
    const std::string path = "/v1/jobs/" + id_of(graph);
    graph->on_step(1, 10, 0.5, std::nan(""));
    graph->on_validation(0, 1.5, false);
    json curve = expect_json(ask("GET", path + "/curve"));
    EXPECT_EQ(curve["points"].dump(), "[[1,0.5,null]]");
    EXPECT_EQ(curve["validations"].dump(), "[[0,1.5]]");
    graph->end(JobState::finished, "");
    curve = expect_json(ask("GET", path + "/curve?x=1"));
    EXPECT_EQ(curve["points"].dump(), "[[1,0.5,null]]");
    curve.erase("points");
    curve.erase("validations");
    EXPECT_EQ(curve, expect_json(ask("GET", path)));
    const std::string of_api = accept("a");
    finish(of_api);
    EXPECT_EQ(expect_json(ask("GET", "/v1/jobs/" + of_api + "/curve"))["points"].size(), 3u);
    expect_problem(ask("GET", "/v1/jobs/" + new_key() + "/curve"), 404);
}

TEST_F(ApiTest, MakesANodeShowAJob) {
    const std::string key = train_to_end(jobs, "g"), path = "/v1/jobs/" + key + "/show";
    const std::string place = R"({"node": "4", "workflow": "a copy"})";
    EXPECT_EQ(expect_json(post_to(path, place))["graph"]["node"], "4");
    EXPECT_EQ(jobs.shown_at("a copy", "4")->id, key);
    for (const char* bad :
         {R"({"node": "5"})", R"({"node": 5, "workflow": "w"})", R"({"node": "5", "workflow": 1})",
          R"({"node": "5", "workflow": "w", "more": 1})", "[]"}) {
        expect_problem(post_to(path, bad), 422);
    }
    expect_problem(post_to(path, "{"), 400);
    expect_problem(post_to(path, place, "text/plain"), 415);  // which another site may send
    expect_problem(ask("POST", path, {{"content-type", "application/json"}}), 411);
    expect_problem(post_to("/v1/jobs/" + new_key() + "/show", place), 404);
    EXPECT_EQ(jobs.find(key)->places.size(), 2u);
    // In place of what kept it from learning.
    const auto failed = jobs.begin({"4", "a copy", "p", 0}, "g", 10);
    failed->end(JobState::failed, "no such word");
    expect_json(post_to(path, place));
    EXPECT_EQ(jobs.shown_at("a copy", "4")->id, key);
    const FullDisk full(50);
    EXPECT_EQ(expect_problem(post_to(path, place), 507).find(root.path().string()),
              std::string::npos);
}

TEST_F(ApiTest, SaysHowMuchIsKeptAndHowMuchMayBe) {
    train_to_end(jobs, "g");
    const json before = expect_json(ask("GET", "/v1/store"));
    EXPECT_EQ(before["jobs"], 1);
    EXPECT_GT(before["bytes"], 0);
    EXPECT_TRUE(before["limit_mb"].is_null());
    EXPECT_EQ(before.size(), 3u);
    json after = before;
    after["limit_mb"] = 64;
    EXPECT_EQ(expect_json(post_to("/v1/store", R"({"limit_mb": 64})")), after);
    EXPECT_EQ(expect_json(ask("GET", "/v1/store")), after);
    for (const char* bad : {"15", "65537", "1e2", "true", "\"64\"", "null", "-64", "64.5",
                            "99999999999999999999999"}) {
        expect_problem(post_to("/v1/store", concat("{\"limit_mb\": ", bad, "}")), 422);
    }
    for (const char* bad : {"[]", "{}", R"({"limit_mb": 64, "more": 1})"}) {
        expect_problem(post_to("/v1/store", bad), 422);
    }
    const std::string deep(100'000, '[');
    for (const std::string& bad : {std::string(), std::string("{"), std::string("\xff"), deep,
                                   std::string(R"({"limit_mb": NaN})")}) {
        EXPECT_LT(expect_problem(post_to("/v1/store", bad), 400).size(), 200u);
    }
    expect_problem(post_to("/v1/store", std::string(limits.json + 1, ' ')), 413);
    EXPECT_EQ(expect_json(ask("GET", "/v1/store")), after);
    const FullDisk full(3);
    expect_problem(post_to("/v1/store", R"({"limit_mb": 65})"), 507);
}

TEST_F(ApiTest, ForgetsAllButWhatRuns) {
    const std::string key = train_to_end(jobs, "g"), ended_id = accept("a");
    finish(ended_id);
    const auto failed = jobs.begin({"9", "w", "p", 0}, "g", 10);
    failed->end(JobState::failed, "");
    const auto running = train(jobs, "r", new_key(), {"2", "w", "p", 0});
    EXPECT_EQ(expect_json(ask("DELETE", "/v1/store"))["jobs"], 1);
    for (const std::string& id : {key, ended_id, id_of(failed)}) {
        expect_problem(ask("GET", "/v1/jobs/" + id), 404);
    }
    EXPECT_EQ(expect_json(ask("GET", "/v1/jobs/" + id_of(running)))["state"], "running");
}

TEST_F(ApiTest, RefusesWhatAnotherProcessDoes) {
    const auto running = train(jobs, "g");
    Jobs second(root / "jobs", runner, {}, JobFolders::Sharing::shared);
    Api other(second, roots, {"127.0.0.1", 1, ""}, limits);
    const auto ask_other = [&](const std::string& method, const std::string& target,
                               const std::string& body = "") {
        RequestHead head;
        head.method = method;
        head.target = target;
        head.headers = {{"host", "localhost:1"},
                        {"content-type", "application/json"},
                        {"content-length", std::to_string(body.size())}};
        head.content_length = body.size();
        return other.answer({head, [&] { return body; }});
    };
    const std::string path = "/v1/jobs/" + id_of(running);
    EXPECT_EQ(expect_json(ask_other("GET", path))["state"], "running");
    expect_problem(ask_other("POST", path + "/stop"), 409);
    expect_problem(ask_other("DELETE", path), 409);
    expect_problem(ask_other("POST", "/v1/jobs", submission("a")), 429);
}

TEST_F(ApiTest, SaysThatThereIsNoSuchJob) {
    for (const char* id : {"0000000000000000", "", "..", ".lock", "%2e%2e", "x"}) {
        const std::string path = std::string("/v1/jobs/") + id;
        expect_problem(ask("GET", path), 404);
        expect_problem(ask("DELETE", path), 404);
        for (const char* rest : {"/events", "/token", "/previews/1"}) {
            expect_problem(ask("GET", path + rest), 404);
        }
        for (const char* rest : {"/stop", "/cancel"}) expect_problem(ask("POST", path + rest), 404);
    }
}

TEST_F(ApiTest, OpensEventStreams) {
    const std::string id = accept("a");
    const auto events = [&](const std::string& last) {
        return ask("GET", "/v1/jobs/" + id + "/events", {{"last-event-id", last}});
    };
    {
        const HttpResponse stream = ask("GET", "/v1/jobs/" + id + "/events");
        EXPECT_EQ(stream.status, 200);
        EXPECT_EQ(stream.content_type, "text/event-stream");
        ASSERT_TRUE(stream.events);
        EXPECT_EQ(stream.events->after, 0u);
        EXPECT_EQ(stream.events->log, jobs.events(id));
        EXPECT_EQ(events("7").events->after, 7u);
        const HttpResponse second = events("0");
        EXPECT_EQ(second.events->after, 0u);
        expect_problem(events("1"), 503);
        EXPECT_NE(header(events("1"), "Retry-After"), "");
    }
    for (const char* last :
         {"", "-1", "x", "1 ", "0x1", "1.5", "9007199254740992", "18446744073709551616"}) {
        expect_problem(events(last), 400);
    }
    EXPECT_EQ(events("9007199254740991").status, 200);
}

TEST_F(ApiTest, SaysWhichMethodsAPathTakes) {
    const std::string id = accept("a");
    const std::map<std::string, std::string> allowed = {
        {"/v1/health", "GET, HEAD"},
        {"/v1/models", "GET, HEAD"},
        {"/v1/settings", "GET, HEAD"},
        {"/openapi.json", "GET, HEAD"},
        {"/v1/jobs", "GET, POST, HEAD"},
        {"/v1/jobs/" + id, "DELETE, GET, HEAD"},
        {"/v1/jobs/" + id + "/events", "GET, HEAD"},
        {"/v1/jobs/" + id + "/stop", "POST"},
        {"/v1/jobs/" + id + "/cancel", "POST"},
        {"/v1/jobs/" + id + "/token", "GET, HEAD"},
        {"/v1/jobs/" + id + "/previews/1", "GET, HEAD"},
        {"/v1/jobs/" + id + "/extend", "POST"},
        {"/v1/jobs/" + id + "/curve", "GET, HEAD"},
        {"/v1/jobs/" + id + "/show", "POST"},
        {"/v1/store", "DELETE, GET, POST, HEAD"}};
    for (const auto& [path, methods] : allowed) {
        for (const char* method : {"OPTIONS", "PUT", "PATCH", "TRACE", "CONNECT"}) {
            const HttpResponse refused = ask(method, path);
            expect_problem(refused, 405);
            EXPECT_EQ(header(refused, "Allow"), methods) << method << path;
        }
    }
    expect_problem(ask("HEAD", "/v1/jobs/" + id + "/stop"), 405);
    expect_problem(ask("GET", "/v1/jobs/" + id + "/cancel"), 405);
    EXPECT_EQ(jobs.find(id)->stop_request, StopRequest::none);
}

TEST_F(ApiTest, TakesHeadWhereGetIs) {
    const std::string id = accept("a");
    finish(id);
    for (const std::string& path : {std::string("/v1/health"), std::string("/v1/jobs"),
                                    "/v1/jobs/" + id, "/v1/jobs/" + id + "/token"}) {
        EXPECT_EQ(ask("HEAD", path).status, 200) << path;
    }
    expect_problem(ask("HEAD", "/v1/jobs/x"), 404);
}

TEST_F(ApiTest, HasNothingAtOtherPaths) {
    for (const char* path :
         {"/", "//", "/v1", "/v1/", "/v1/health/", "//v1/health", "/v1//jobs", "/V1/health",
          "/v1/jobs/x/y", "/v1/jobs/x/previews/1/2", "/v1/%68ealth", "/v1/health;x",
          "/../v1/health", "/openapi.yaml", "/favicon.ico"}) {
        expect_problem(ask("GET", path), 404);
        expect_problem(ask("OPTIONS", path), 404);
    }
}

TEST_F(ApiTest, LooksAtWhoAsksFirst) {
    for (const char* path : {"/v1/health", "/v1/jobs", "/nothing"}) {
        expect_problem(ask("GET", path, {{"origin", "http://evil.example"}}), 403);
        expect_problem(ask("PUT", path, {{"host", "evil.example"}}), 403);
    }
    Api guarded(jobs, roots, {"127.0.0.1", 1, "secret"}, limits);
    RequestHead head;
    head.method = "GET";
    head.target = "/v1/health";
    head.headers = {{"host", "localhost:1"}};
    const HttpResponse refused = guarded.answer({head, {}});
    expect_problem(refused, 401);
    EXPECT_TRUE(header(refused, "WWW-Authenticate").starts_with("Bearer"));
    head.headers.emplace_back("authorization", "Bearer secret");
    EXPECT_EQ(guarded.answer({head, {}}).status, 200);
}

// Another program's server, which it is mounted on, has looked already.
TEST_F(ApiTest, LooksAtNobodyWhereItIsOpen) {
    Api open(jobs, roots, {"127.0.0.1", 1, "secret", true}, limits);
    RequestHead head;
    head.method = "GET";
    head.target = "/v1/health";
    head.headers = {{"host", "comfy.example:8188"},
                    {"origin", "https://comfy.example"},
                    {"sec-fetch-site", "cross-site"}};
    EXPECT_EQ(open.answer({head, {}}).status, 200);
    head.headers.clear();
    EXPECT_EQ(open.answer({head, {}}).status, 200);
}

TEST_F(ApiTest, AnswersWhateverBreaks) {
    const auto breaking = [&](const auto& exception) {
        RequestHead head;
        head.method = "POST";
        head.target = "/v1/jobs";
        head.headers = {
            {"host", "localhost:1"}, {"content-type", "application/json"}, {"content-length", "5"}};
        return api.answer({head, [&]() -> std::string { throw exception; }});
    };
    expect_problem(breaking(std::runtime_error("it broke")), 500);
    expect_problem(breaking(Error("it broke \xff")), 500);
    expect_problem(breaking(HttpError(408, "too slow")), 408);
    const HttpResponse no_memory = breaking(std::bad_alloc());
    expect_problem(no_memory, 503);
    EXPECT_NE(header(no_memory, "Retry-After"), "");
    expect_problem(post(submission("odd")), 500);
    expect_json(post(submission("a")), 202);  // no place was lost
}

}  // namespace
}  // namespace zoodip
