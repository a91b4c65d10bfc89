// Any bytes as what is submitted: the first line as the Content-Type, the rest as the body.
#include <algorithm>
#include <string>
#include <vector>

#include "refusal.h"

#include "io/picture_names.h"
#include "server/multipart.h"
#include "server/submission.h"

namespace zoodip::fuzz {
namespace {

constexpr std::size_t max_parts = 12, max_name = 1000;

// A body of these parts, as a browser writes it.
std::string written(const std::vector<FormPart>& parts, const std::string& boundary) {
    std::string body;
    for (const FormPart& part : parts) {
        body += "--" + boundary + "\r\nContent-Disposition: form-data; name=\"";
        for (const char c : part.name) body += c == '"' || c == '\\' ? concat('\\', c) : concat(c);
        body += concat("\"\r\n\r\n", part.content, "\r\n");
    }
    return body + "--" + boundary + "--\r\n";
}

void check_parts(const std::vector<FormPart>& parts, std::string_view body,
                 const std::string& boundary) {
    expect(parts.size() <= max_parts, "parts are bounded");
    for (const FormPart& part : parts) {
        expect(!part.name.empty(), "a part has a name");
        if (part.name.size() > max_name) return;
        if (part.content.empty()) continue;
        expect(part.content.data() >= body.data() &&
                   part.content.data() + part.content.size() <= body.data() + body.size(),
               "a part lies in the body");
        expect(part.content.find("\r\n--" + boundary) == std::string_view::npos,
               "a part ends at the boundary");
    }
    const std::string again = written(parts, boundary);
    const std::vector<FormPart> read = parse_multipart(again, boundary, max_parts);
    expect(read.size() == parts.size(), "parts survive being written");
    for (std::size_t i = 0; i < parts.size(); ++i) {
        expect(read[i].name == parts[i].name, "a name survives being written");
        expect(read[i].content == parts[i].content, "a content survives being written");
    }
}

void check_form(std::string_view type, std::string_view body) {
    std::string boundary;
    if (!taken({400}, [&] { boundary = boundary_of(type); })) return;
    expect(!boundary.empty() && boundary.size() <= 70, "a boundary has 1 to 70 characters");
    std::vector<FormPart> parts;
    if (taken({400, 413}, [&] { parts = parse_multipart(body, boundary, max_parts); })) {
        check_parts(parts, body, boundary);
    }
}

void check_submission(const Submission& submission, const ServerLimits& limits) {
    const JobRequest& request = submission.request;
    for (const std::string& text : {request.model, request.word, request.init}) {
        expect(!text.empty() && text.size() <= 1000 && is_utf8(text), "a text is one");
    }
    expect(request.images.empty() != submission.pictures.empty(), "pictures or a folder of them");
    expect(is_utf8(request.images), "a folder's name is text");
    expect(request.settings.is_object(), "settings are an object");
    request.settings.dump();
    expect(submission.pictures.size() <= limits.pictures, "pictures are bounded");
    for (const NewPicture& picture : submission.pictures) {
        expect(picture.bytes.size() <= limits.picture, "a picture is bounded");
        expect(is_picture_name("a" + picture.extension), "a picture is of a known kind");
        expect(!picture.name.empty() && is_utf8(picture.name), "a picture has a name");
    }
}

}  // namespace
}  // namespace zoodip::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace zoodip;
    using namespace zoodip::fuzz;
    const std::string_view input = as_text(data, size);
    const std::string_view type = input.substr(0, input.find('\n'));
    const std::string_view body = input.substr(std::min(size, type.size() + 1));
    check_form(type, body);
    ServerLimits limits;
    limits.json = 300;
    limits.picture = 30;
    limits.pictures = 2;
    Submission submission;
    if (taken({400, 413, 415, 422}, [&] { submission = parse_submission(type, body, limits); })) {
        check_submission(submission, limits);
    }
    return 0;
}
