// A job's record and what is shown of it.
#include "jobs/job.h"

#include <cmath>
#include <limits>
#include <set>
#include <string>

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/json.h"

namespace zoodip {
namespace {

using nlohmann::json;

Job full_job() {
    Job job;
    job.id = "0123456789abcdef";
    job.sequence = 7;
    job.origin = "graph";
    job.device = "cuda:1";
    job.group = "89abcdef01234567";
    job.request = {
        "sub/model",     "folder", "sks", "dog", {{"steps", 5}, {"caption", "a {} \u00e9"}},
        {{"zwx", "cat"}}};
    job.model_file = "/models/sub/model";
    job.images_folder = "/images/folder";
    job.state = JobState::stopped;
    job.stop_request = StopRequest::stop;
    job.created = 1'700'000'000'001;
    job.started = 1'700'000'000'002;
    job.ended = 1'700'000'000'003;
    job.lineage = std::string(64, 'c');
    job.progress = {"learning", 3, 5, 0.5, 0.25, 9, 2, 3, "int8", "it is the quickest"};
    job.used = 1'700'000'000'004;
    job.places = {{"1", "w", "p", 7}, {"2", "w", "q", 8}};
    job.preview_percent = 5.0;
    job.message = "The word as of step 3 is kept.";
    job.token = "token.safetensors";
    return job;
}

TEST(JobRecord, ComesBackAsItWas) {
    const json record = to_record(full_job());
    EXPECT_EQ(to_record(job_of_record(parse_json(record.dump()))), record);
    const Job job = job_of_record(record);
    EXPECT_EQ(job.state, JobState::stopped);
    EXPECT_EQ(job.stop_request, StopRequest::stop);
    EXPECT_EQ(job.request.settings, full_job().request.settings);
    EXPECT_EQ(job.request.also.at("zwx"), "cat");
    EXPECT_EQ(job.ended, 1'700'000'000'003);
    EXPECT_EQ(job.lineage, std::string(64, 'c'));
    EXPECT_EQ(job.progress.preview_step, 3);
    EXPECT_EQ(job.places.at(1).shown, 8);
}

TEST(JobRecord, HasNoNumberForALossThatIsNone) {
    Job job = full_job();
    job.progress.loss = std::numeric_limits<double>::infinity();
    job.progress.smooth_loss = std::numeric_limits<double>::quiet_NaN();
    const json record = to_record(job);
    EXPECT_TRUE(record["progress"]["loss"].is_null());
    const Job back = job_of_record(parse_json(record.dump()));
    EXPECT_TRUE(std::isnan(back.progress.loss));
    EXPECT_TRUE(std::isnan(back.progress.smooth_loss));
}

TEST(JobRecord, KeepsEveryStateAndWish) {
    Job job = full_job();
    for (int i = 0; i < 7; ++i) {
        job.state = static_cast<JobState>(i);
        EXPECT_EQ(job_of_record(to_record(job)).state, job.state) << name_of(job.state);
    }
    for (int i = 0; i < 3; ++i) {
        job.stop_request = static_cast<StopRequest>(i);
        EXPECT_EQ(job_of_record(to_record(job)).stop_request, job.stop_request);
    }
}

// As records of earlier versions do.
TEST(JobRecord, MayLackWhatYoungerOnesHave) {
    json record = to_record(full_job());
    for (const char* name : {"lineage", "group", "used", "places", "preview_percent", "also"})
        record.erase(name);
    for (const char* name : {"passes", "best_step", "preview_step", "compute", "compute_choice"}) {
        record["progress"].erase(name);
    }
    const Job job = job_of_record(record);
    EXPECT_EQ(job.lineage, "");
    EXPECT_EQ(job.group, "");
    EXPECT_EQ(job.used, 0);
    EXPECT_TRUE(job.places.empty());
    EXPECT_EQ(job.progress.passes, std::nullopt);
    EXPECT_EQ(job.progress.compute, "");
}

TEST(JobRecord, IsRefusedWhenItIsDamaged) {
    const json whole = to_record(full_job());
    const std::set<std::string> may_lack = {"lineage", "group",           "used",
                                            "places",  "preview_percent", "also"};
    for (const auto& [name, value] : whole.items()) {
        if (may_lack.count(name) > 0) continue;
        json record = whole;
        record.erase(name);
        EXPECT_THROW(job_of_record(record), Error) << name;
        record[name] = json::array();
        if (name == "settings") continue;  // of any kind
        EXPECT_THROW(job_of_record(record), Error) << name;
    }
    json record = whole;
    record["state"] = "asleep";
    EXPECT_THROW(job_of_record(record), Error);
    record = whole;
    record["progress"].erase("step");
    EXPECT_THROW(job_of_record(record), Error);
    for (const json& other : {json(), json(1), json::array(), parse_json("{")}) {
        EXPECT_THROW(job_of_record(other), Error);
    }
}

TEST(JobView, ShowsWhatTheContractLists) {
    EXPECT_EQ(to_view(full_job()), parse_json(R"({
        "id": "0123456789abcdef", "state": "stopped", "origin": "graph", "device": "cuda:1",
        "group": "89abcdef01234567",
        "created": "2023-11-14T22:13:20.001Z", "started": "2023-11-14T22:13:20.002Z",
        "ended": "2023-11-14T22:13:20.003Z", "model": "sub/model", "images": "folder",
        "word": "sks", "init": "dog", "settings": {"steps": 5, "caption": "a {} \u00e9"},
        "also": {"zwx": "cat"},
        "stage": "learning", "step": 3, "steps": 5, "loss": 0.5, "smooth_loss": 0.25,
        "passes": 9, "best_step": 2, "compute": "int8", "compute_choice": "it is the quickest",
        "graph": {"node": "2", "workflow": "w", "prompt": "q", "preview_percent": 5.0},
        "preview": {"step": 3, "url": "/v1/jobs/0123456789abcdef/previews/3"},
        "message": "The word as of step 3 is kept.", "position": null, "token": true})"));
}

TEST(JobView, HasNullForWhatIsNotThere) {
    const json view = to_view(Job());
    for (const char* name :
         {"group", "created", "started", "ended", "images", "loss", "smooth_loss", "passes",
          "best_step", "compute", "compute_choice", "graph", "preview"}) {
        EXPECT_TRUE(view.at(name).is_null()) << name;
    }
    EXPECT_EQ(view["token"], false);
    EXPECT_EQ(view["message"], "");
}

TEST(JobState, HasEndedUnlessItIsQueuedOrRunning) {
    EXPECT_FALSE(has_ended(JobState::queued));
    EXPECT_FALSE(has_ended(JobState::running));
    for (const JobState state : {JobState::finished, JobState::stopped, JobState::interrupted,
                                 JobState::cancelled, JobState::failed}) {
        EXPECT_TRUE(has_ended(state)) << name_of(state);
    }
}

TEST(FormatTime, HasMillisecondsAndUtc) {
    EXPECT_EQ(format_time(1), "1970-01-01T00:00:00.001Z");
    EXPECT_EQ(format_time(1'709'164'800'120), "2024-02-29T00:00:00.120Z");
    EXPECT_EQ(format_time(1'709'164'799'999), "2024-02-28T23:59:59.999Z");
}

}  // namespace
}  // namespace zoodip
