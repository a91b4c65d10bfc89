// The body of POST /v1/jobs.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "jobs/job_folders.h"
#include "server/limits.h"

namespace zoodip {

struct Submission {
    JobRequest request;
    std::vector<NewPicture> pictures;  // empty: request.images names a folder
};

// By its Content-Type, application/json or multipart/form-data. Throws HttpError: 400 for what is
// no JSON or no form, 413 for too much, 415 for another type, 422 for what does not fit the schema.
Submission parse_submission(std::string_view content_type, std::string_view body,
                            const ServerLimits& limits);

// The body of POST /v1/subjects: requests of one model and equal settings, two or more. Throws
// HttpError as parse_submission.
std::vector<JobRequest> parse_subjects(std::string_view content_type, std::string_view body,
                                       const ServerLimits& limits);

// Of the body of POST /v1/jobs/ID/extend: {"steps": 120}. Throws HttpError 422.
std::int64_t steps_of(const nlohmann::json& extension);

// A JSON object with just these members. Throws HttpError like parse_submission.
nlohmann::json parse_members(std::string_view content_type, std::string_view body,
                             std::initializer_list<const char*> names, const ServerLimits& limits);

// Decodes each picture, and throws HttpError 422 for one that cannot be learned from, by the name
// that the client gave it. Takes up to a second and 0.5 GB for each.
void check_pictures(const std::vector<NewPicture>& pictures);

// Throws HttpError 415 unless parse_submission takes it.
void check_submission_type(std::string_view content_type);

}  // namespace zoodip
