#include "server/submission.h"

#include <span>
#include <utility>

#include "core/ascii.h"
#include "core/json.h"
#include "io/picture.h"
#include "io/picture_kind.h"
#include "server/http_error.h"
#include "server/multipart.h"

namespace zoodip {
namespace {

using nlohmann::json;

constexpr std::string_view json_type = "application/json", form_type = "multipart/form-data";
constexpr std::size_t max_text = 1000;  // characters of a name or a word
constexpr std::size_t max_fields = 8;   // beside the pictures
constexpr std::int64_t max_steps = 10'000'000;

std::string media_type(std::string_view content_type) {
    return lower_ascii(trim_blanks(content_type.substr(0, content_type.find(';'))));
}

json parse_object(std::string_view text, const char* what, const ServerLimits& limits) {
    if (text.size() > limits.json) {
        throw HttpError(413, concat(what, ": may have at most ", limits.json, " bytes of JSON"));
    }
    json value = parse_json(text);
    if (value.is_discarded()) {
        throw HttpError(
            400, concat(what, ": is no JSON in UTF-8 with at most ", max_json_depth, " levels"));
    }
    if (!value.is_object()) throw HttpError(422, concat(what, ": needs a JSON object"));
    return value;
}

// The body of a request that has no other form.
json parse_json_object(std::string_view content_type, std::string_view body,
                       const ServerLimits& limits) {
    if (media_type(content_type) != json_type) {
        throw HttpError(415, concat("the body needs Content-Type: ", json_type));
    }
    return parse_object(body, "the body", limits);
}

std::string take_text(json& values, const char* name) {
    const auto found = values.find(name);
    if (found == values.end()) throw HttpError(422, concat(name, ": is missing"));
    if (!found->is_string()) throw HttpError(422, concat(name, ": needs text"));
    std::string text = found->get<std::string>();
    values.erase(found);
    if (text.empty() || text.size() > max_text) {
        throw HttpError(422, concat(name, ": needs 1 to ", max_text, " bytes of text"));
    }
    return text;
}

// What all kinds of body have; afterwards nothing may be left.
JobRequest take_common(json& values) {
    JobRequest request;
    request.model = take_text(values, "model");
    if (const auto settings = values.find("settings"); settings != values.end()) {
        if (!settings->is_object()) throw HttpError(422, "settings: needs an object");
        request.settings = *settings;
        values.erase(settings);
    }
    return request;
}

void take_word(json& values, JobRequest& request) {
    request.word = take_text(values, "word");
    request.init = take_text(values, "init");
}

// Further words: {"ohwx": "person"}.
void take_also(json& values, JobRequest& request, const ServerLimits& limits) {
    const auto also = values.find("also");
    if (also == values.end()) return;
    if (!also->is_object() || also->size() > limits.words) {
        throw HttpError(422, concat("also: needs an object of at most ", limits.words,
                                    " words, each with its init"));
    }
    for (const auto& [word, init] : also->items()) {
        const std::string text = init.is_string() ? init.get<std::string>() : std::string();
        if (word.empty() || word.size() > max_text || text.empty() || text.size() > max_text) {
            throw HttpError(422, concat("also: needs 1 to ", max_text,
                                        " bytes of text for each word and its init"));
        }
        request.also[word] = text;
    }
    values.erase(also);
}

JobRequest take_request(json& values, const ServerLimits& limits) {
    JobRequest request = take_common(values);
    take_word(values, request);
    take_also(values, request, limits);
    return request;
}

void require_nothing_left(const json& values, const char* known) {
    if (values.empty()) return;
    throw HttpError(422, concat("there is no '", values.begin().key(), "' here, only ", known));
}

Submission parse_json_body(std::string_view body, const ServerLimits& limits) {
    json values = parse_object(body, "the body", limits);
    Submission submission{take_request(values, limits), {}};
    submission.request.images = take_text(values, "images");
    require_nothing_left(values, "model, images, word, init, also and settings");
    return submission;
}

// What the client calls a picture, in one line, without folders of its own disk.
std::string shown_name(const FormPart& part, std::size_t number) {
    constexpr std::size_t longest = 200;  // bytes
    std::string name = part.file_name.substr(part.file_name.find_last_of("/\\") + 1);
    std::erase_if(name, [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 0x7F; });
    if (name.empty() || name.size() > longest || !is_utf8(name)) return concat("picture ", number);
    return name;
}

// Its kind is told by its first bytes; names are whatever a client makes of them.
NewPicture picture_of(const FormPart& part, std::size_t number, const ServerLimits& limits) {
    const std::string name = shown_name(part, number);
    if (part.content.size() > limits.picture) {
        throw HttpError(413, concat("pictures: ", name, ": each may have at most ", limits.picture,
                                    " bytes, this has ", part.content.size()));
    }
    const auto bytes = std::as_bytes(std::span(part.content));
    const char* extension = extension_of(bytes);
    if (extension == nullptr) {
        throw HttpError(422, concat("pictures: ", name, ": ", refusal_of_kind(bytes)));
    }
    return {extension, std::string(part.content), name};
}

Submission parse_form(std::string_view content_type, std::string_view body,
                      const ServerLimits& limits) {
    json values = json::object();
    std::vector<NewPicture> pictures;
    for (const FormPart& part :
         parse_multipart(body, boundary_of(content_type), limits.pictures + max_fields)) {
        if (part.name == "pictures") {
            pictures.push_back(picture_of(part, pictures.size() + 1, limits));
        } else if (values.contains(part.name)) {
            throw HttpError(422, "a field of the form is there more than once");
        } else if (part.name == "settings" || part.name == "also") {
            values[part.name] = parse_object(part.content, part.name.c_str(), limits);
        } else if (!is_utf8(part.name) || !is_utf8(std::string(part.content))) {
            throw HttpError(400, "the form's fields need to be UTF-8");
        } else {
            values[part.name] = std::string(part.content);
        }
    }
    Submission submission{take_request(values, limits), std::move(pictures)};
    require_nothing_left(values, "model, word, init, also, settings and pictures");
    const std::size_t count = submission.pictures.size();
    if (count > limits.pictures) {
        throw HttpError(413, concat("pictures: at most ", limits.pictures, " are taken"));
    }
    if (count == 0) throw HttpError(422, "pictures: needs at least one, got none");
    return submission;
}

}  // namespace

json parse_members(std::string_view content_type, std::string_view body,
                   std::initializer_list<const char*> names, const ServerLimits& limits) {
    const json values = parse_json_object(content_type, body, limits);
    json left = values;
    std::string known;
    for (const char* name : names) {
        if (!values.contains(name)) throw HttpError(422, concat(name, ": is missing"));
        left.erase(name);
        known += concat(known.empty() ? "" : " and ", name);
    }
    require_nothing_left(left, known.c_str());
    return values;
}

std::vector<JobRequest> parse_subjects(std::string_view content_type, std::string_view body,
                                       const ServerLimits& limits) {
    json values = parse_json_object(content_type, body, limits);
    const JobRequest common = take_common(values);
    const json subjects = values.value("subjects", json());
    values.erase("subjects");
    require_nothing_left(values, "model, subjects and settings");
    if (!subjects.is_array() || subjects.size() < 2 || subjects.size() > limits.subjects) {
        throw HttpError(422, concat("subjects: needs a list of 2 to ", limits.subjects));
    }
    std::vector<JobRequest> requests;
    for (json subject : subjects) {
        if (!subject.is_object()) throw HttpError(422, "subjects: each needs to be an object");
        requests.push_back(common);
        take_word(subject, requests.back());
        requests.back().images = take_text(subject, "images");
        require_nothing_left(subject, "images, word and init in a subject");
    }
    return requests;
}

std::int64_t steps_of(const json& extension) {
    const json& steps = extension["steps"];
    if (!steps.is_number_integer() || steps < 1 || steps > max_steps) {
        throw HttpError(422, concat("steps: needs a whole number from 1 to ", max_steps));
    }
    return steps.get<std::int64_t>();
}

void check_pictures(const std::vector<NewPicture>& pictures) {
    for (const NewPicture& picture : pictures) {
        try {
            decode_training_picture(std::as_bytes(std::span(picture.bytes)),
                                    concat("pictures: ", picture.name));
        } catch (const Error& error) {
            throw HttpError(422, error.what());
        }
    }
}

void check_submission_type(std::string_view content_type) {
    const std::string type = media_type(content_type);
    if (type == json_type || type == form_type) return;
    throw HttpError(415, concat("the body needs Content-Type: ", json_type, " or ", form_type));
}

Submission parse_submission(std::string_view content_type, std::string_view body,
                            const ServerLimits& limits) {
    check_submission_type(content_type);
    return media_type(content_type) == json_type ? parse_json_body(body, limits)
                                                 : parse_form(content_type, body, limits);
}

}  // namespace zoodip
