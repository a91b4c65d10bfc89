// The body of a submission, as JSON and as a form.
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "core/json.h"
#include "io/picture.h"
#include "server/http_error.h"
#include "server/submission.h"

namespace zoodip {
namespace {

using nlohmann::json;

constexpr const char* form_type = "multipart/form-data; boundary=b";
const std::string png = "\x89PNG\r\n\x1a\nrest", jpeg = "\xff\xd8\xff rest",
                  webp = "RIFF\1\2\3\4WEBPVP8 ";

struct Fields : std::vector<std::pair<std::string, std::string>> {
    using vector::vector;
    Fields with(const std::string& name, const std::string& value) const {
        Fields more = *this;
        more.emplace_back(name, value);
        return more;
    }
    Fields without(const std::string& name) const {
        Fields fewer;
        for (const auto& one : *this) {
            if (one.first != name) fewer.push_back(one);
        }
        return fewer;
    }
};

const Fields whole_form = {
    {"model", "sub/model"}, {"word", "sks"}, {"init", "dog"}, {"pictures", png}};

std::string form(const Fields& fields) {
    std::string body;
    for (const auto& [name, value] : fields) {
        body +=
            "--b\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value + "\r\n";
    }
    return body + "--b--\r\n";
}

json whole_json() {
    return {{"model", "m"}, {"images", "i"}, {"word", "sks"}, {"init", "dog"}};
}

int refusal(const std::string& type, const std::string& body, const ServerLimits& limits = {}) {
    try {
        parse_submission(type, body, limits);
        return 0;
    } catch (const HttpError& error) {
        return error.status();
    }
}

int refusal(const json& body) {
    return refusal("application/json", body.dump());
}

int refusal(const Fields& fields) {
    return refusal(form_type, form(fields));
}

TEST(JsonSubmission, IsRead) {
    json body = whole_json();
    body["settings"] = {{"steps", 5}};
    for (const char* type : {"application/json", " Application/JSON ; charset=utf-8"}) {
        const Submission submission = parse_submission(type, body.dump(), {});
        EXPECT_EQ(submission.request.model, "m");
        EXPECT_EQ(submission.request.images, "i");
        EXPECT_EQ(submission.request.word, "sks");
        EXPECT_EQ(submission.request.init, "dog");
        EXPECT_EQ(submission.request.settings, body["settings"]);
        EXPECT_TRUE(submission.pictures.empty());
    }
    EXPECT_EQ(parse_submission("application/json", whole_json().dump(), {}).request.settings,
              json::object());
}

TEST(JsonSubmission, NeedsEachMemberAndTakesNoOther) {
    for (const char* name : {"model", "images", "word", "init"}) {
        json body = whole_json();
        body.erase(name);
        EXPECT_EQ(refusal(body), 422) << name;
        for (const json& value :
             {json(), json(1), json(""), json(json::array({"a"})), json(std::string(1001, 'x'))}) {
            body[name] = value;
            EXPECT_EQ(refusal(body), 422) << name << value;
        }
        body[name] = std::string(1000, 'x');
        EXPECT_EQ(refusal(body), 0) << name;
    }
    json body = whole_json();
    for (const json& value : {json(), json("{}"), json(json::array())}) {
        body["settings"] = value;
        EXPECT_EQ(refusal(body), 422) << value;
    }
    body = whole_json();
    for (const char* name : {"pictures", "Model", "", "id"}) {
        body[name] = "x";
        EXPECT_EQ(refusal(body), 422) << name;
        body.erase(name);
    }
}

TEST(JsonSubmission, NeedsJson) {
    const std::string whole = whole_json().dump();
    for (const std::string& body :
         {std::string(), std::string("{"), whole + "x", whole + whole, std::string("\xef\xbb"),
          std::string("{\"model\": \"\xff\"}"), std::string("{'model': 1}"),
          std::string(100'000, '['),
          "{\"model\":" + std::string(64, '[') + std::string(64, ']') + "}"}) {
        EXPECT_EQ(refusal("application/json", body), 400) << body.substr(0, 50);
    }
    for (const char* body : {"[]", "1", "null", "\"model\""}) {
        EXPECT_EQ(refusal("application/json", body), 422) << body;
    }
    ServerLimits limits;
    limits.json = whole.size();
    EXPECT_EQ(refusal("application/json", whole, limits), 0);
    EXPECT_EQ(refusal("application/json", whole + " ", limits), 413);
}

TEST(Submission, IsTakenInTwoTypes) {
    for (const char* type :
         {"", "text/plain", "application/x-www-form-urlencoded", "json", "application/jsonp",
          "multipart/mixed; boundary=b", ";", "application/json, text/plain"}) {
        EXPECT_EQ(refusal(type, whole_json().dump()), 415) << type;
        EXPECT_THROW(check_submission_type(type), HttpError) << type;
    }
    EXPECT_NO_THROW(check_submission_type(form_type));
    EXPECT_EQ(refusal("multipart/form-data", form(whole_form)), 400);
}

TEST(FormSubmission, IsRead) {
    const Submission submission = parse_submission(form_type,
                                                   form(whole_form.with("pictures", jpeg)
                                                            .with("settings", R"({"steps": 5})")
                                                            .with("pictures", webp)),
                                                   {});
    EXPECT_EQ(submission.request.model, "sub/model");
    EXPECT_EQ(submission.request.word, "sks");
    EXPECT_EQ(submission.request.init, "dog");
    EXPECT_EQ(submission.request.images, "");
    EXPECT_EQ(submission.request.settings, json({{"steps", 5}}));
    ASSERT_EQ(submission.pictures.size(), 3u);
    EXPECT_EQ(submission.pictures[0].extension, ".png");
    EXPECT_EQ(submission.pictures[0].bytes, png);
    EXPECT_EQ(submission.pictures[1].extension, ".jpg");
    EXPECT_EQ(submission.pictures[2].extension, ".webp");
}

TEST(FormSubmission, NeedsEachFieldOnceAndTakesNoOther) {
    for (const char* name : {"model", "word", "init", "pictures"}) {
        EXPECT_EQ(refusal(whole_form.without(name)), 422) << name;
    }
    for (const char* name : {"model", "word", "init"}) {
        EXPECT_EQ(refusal(whole_form.with(name, "x")), 422) << name;
        EXPECT_EQ(refusal(whole_form.without(name).with(name, "")), 422) << name;
        EXPECT_EQ(refusal(whole_form.without(name).with(name, "\xff")), 400) << name;
    }
    EXPECT_EQ(refusal(whole_form.with("images", "folder")), 422);
    EXPECT_EQ(refusal(whole_form.with("other", "x")), 422);
    EXPECT_EQ(refusal(whole_form.with("\xff", "x")), 400);
    EXPECT_EQ(refusal(whole_form.with("settings", "{}").with("settings", "{}")), 422);
    EXPECT_EQ(refusal(whole_form.with("settings", "{")), 400);
    EXPECT_EQ(refusal(whole_form.with("settings", "[]")), 422);
    EXPECT_EQ(refusal(whole_form.with("settings", "")), 400);
    ServerLimits limits;
    limits.json = 10;
    const std::string body = form(whole_form.with("settings", "{         }"));
    EXPECT_EQ(refusal(form_type, body, limits), 413);
}

TEST(FormSubmission, TakesPicturesByTheirFirstBytes) {
    for (const std::string& bytes :
         {std::string(), std::string("GIF8"), png.substr(0, 7), jpeg.substr(0, 2),
          std::string("RIFF\1\2\3\4WAVE"), std::string("RIFFWEBP"), std::string("<svg>"),
          std::string("BM")}) {
        EXPECT_EQ(refusal(whole_form.with("pictures", bytes)), 422) << bytes;
    }
}

std::string detail_of(const std::string& body) {
    try {
        check_pictures(parse_submission(form_type, body, {}).pictures);
        return "taken";
    } catch (const HttpError& error) {
        EXPECT_EQ(error.status(), 422);
        return error.what();
    }
}

std::string sent_as(const std::string& file_name, const std::string& bytes) {
    const std::string fields = form(whole_form.without("pictures"));
    return fields.substr(0, fields.size() - 7) +  // without the last boundary's end
           "--b\r\nContent-Disposition: form-data; name=\"pictures\"; filename=\"" + file_name +
           "\"\r\n\r\n" + bytes + "\r\n--b--\r\n";
}

std::string encoded(int width, int height) {
    Picture picture{width, height, {}};
    picture.rgb.resize(std::size_t{3} * static_cast<std::size_t>(width * height), 7);
    const std::vector<std::byte> bytes = encode_png(picture);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST(FormSubmission, NamesPicturesAsTheClientDoes) {
    const std::string whole = encoded(9, 8);
    EXPECT_EQ(detail_of(sent_as("my dog.png", whole)), "taken");
    const auto begins = [](const std::string& text, const std::string& start) {
        EXPECT_EQ(text.substr(0, start.size()), start);
    };
    begins(detail_of(sent_as("my dog.jpg", whole.substr(0, whole.size() - 20))),
           "pictures: my dog.jpg: is a PNG that is damaged or cut off");
    begins(detail_of(sent_as("small.png", encoded(9, 7))), "pictures: small.png: is 9 x 7 pixels");
    begins(detail_of(sent_as("scan.tif", {"II*\0", 4})),
           "pictures: scan.tif: is not a picture that can be read but a TIFF");
    begins(detail_of(sent_as("C:\\\\Fotos\\\\dog.jpg", "x")), "pictures: dog.jpg: ");
    for (const std::string& odd : {std::string(), std::string(300, 'x'), std::string("\xff.jpg")}) {
        begins(detail_of(sent_as(odd, "x")), "pictures: picture 1: is not a picture");
    }
}

TEST(FormSubmission, TakesNoMoreThanItMay) {
    ServerLimits limits;
    limits.pictures = 2;
    limits.picture = png.size();
    const Fields two = whole_form.with("pictures", png);
    EXPECT_EQ(refusal(form_type, form(two), limits), 0);
    EXPECT_EQ(refusal(form_type, form(two.with("pictures", png)), limits), 413);
    EXPECT_EQ(refusal(form_type, form(whole_form.with("pictures", png + "x")), limits), 413);
    Fields many = whole_form;
    for (int i = 0; i < 16; ++i) many = many.with("pictures", png);
    EXPECT_EQ(refusal(many), 413);
    for (int i = 0; i < 40; ++i) many = many.with(concat("f", i), "x");
    EXPECT_EQ(refusal(many), 413);
}

}  // namespace
}  // namespace zoodip
