// Forms with files.
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "server/http_error.h"
#include "server/multipart.h"

namespace zoodip {
namespace {

std::string part(const std::string& disposition, const std::string& content) {
    return "--b\r\nContent-Disposition: " + disposition + "\r\n\r\n" + content + "\r\n";
}

std::string field(const std::string& name, const std::string& content) {
    return part("form-data; name=\"" + name + '"', content);
}

int refusal(const std::string& body, std::size_t most = 10) {
    try {
        parse_multipart(body, "b", most);
        return 0;
    } catch (const HttpError& error) {
        return error.status();
    }
}

int boundary_refusal(const std::string& type) {
    try {
        boundary_of(type);
        return 0;
    } catch (const HttpError& error) {
        return error.status();
    }
}

TEST(Boundary, IsTakenFromTheType) {
    EXPECT_EQ(boundary_of("multipart/form-data; boundary=abc"), "abc");
    EXPECT_EQ(boundary_of("multipart/form-data;BOUNDARY=\"a b\" ; charset=utf-8"), "a b");
    EXPECT_EQ(boundary_of("multipart/form-data; charset=\"x;boundary=y\"; boundary= z "), "z");
    EXPECT_EQ(boundary_of("multipart/form-data; boundary=\"a\\'b\""), "a'b");
    EXPECT_EQ(boundary_of("x; boundary=----WebKitFormBoundary7MA4"), "----WebKitFormBoundary7MA4");
    EXPECT_EQ(boundary_refusal("x; boundary=" + std::string(70, 'a')), 0);
}

TEST(Boundary, IsRefusedWhereItIsNone) {
    for (const std::string& type :
         {std::string("multipart/form-data"), std::string("multipart/form-data; boundary="),
          std::string("multipart/form-data; boundary=\"\""), std::string("x; boundary=\"abc"),
          std::string("x; boundary=\"abc \""), std::string("x; boundary=a\tb"),
          std::string("x; boundary=\"a\\\"b\""), std::string("x; boundary=\xc3\xa9"),
          std::string("x; xboundary=abc"), std::string(), std::string("boundary=abc"),
          "x; boundary=" + std::string(71, 'a')}) {
        EXPECT_EQ(boundary_refusal(type), 400) << type;
    }
}

TEST(Multipart, HasPartsWithNamesAndContents) {
    const std::string body =
        field("word", "sks") + field("empty", "") +
        part(R"(form-data; filename="a \"b\".jpg"; name="pictures")", "\r\n--\r\n-b\r\n--c") +
        "--b\r\nX-Other: 1\r\ncontent-DISPOSITION:  FORM-DATA ;name=token; x=y\r\n"
        "Content-Type: text/plain\r\n\r\nvalue\r\n--b--";
    for (const char* epilogue : {"", "\r\n", "\r\nand more\r\n--b\r\n"}) {
        const std::string whole = body + epilogue;
        const auto parts = parse_multipart(whole, "b", 4);
        ASSERT_EQ(parts.size(), 4u);
        EXPECT_EQ(parts[0].name, "word");
        EXPECT_EQ(parts[0].content, "sks");
        EXPECT_EQ(parts[0].file_name, "");
        EXPECT_EQ(parts[1].content, "");
        EXPECT_EQ(parts[2].name, "pictures");
        EXPECT_EQ(parts[2].file_name, "a \"b\".jpg");
        EXPECT_EQ(parts[2].content, std::string("\r\n--\r\n-b\r\n--c"));
        EXPECT_EQ(parts[3].name, "token");
        EXPECT_EQ(parts[3].content, "value");
    }
}

TEST(Multipart, MayHaveAnyBytesInAFile) {
    std::string bytes;
    for (int i = 0; i < 512; ++i) bytes += static_cast<char>(i * 7);
    const std::string body = field("pictures", bytes) + "--b--\r\n";
    EXPECT_EQ(parse_multipart(body, "b", 1).at(0).content, bytes);
}

TEST(Multipart, IsRefusedWhereItIsNone) {
    for (const std::string& body :
         {std::string(),
          std::string("--"),
          std::string("--b"),
          std::string("--b\r\n"),
          std::string("\r\n--b--"),
          std::string("preamble\r\n") + field("a", "1") + "--b--",
          field("a", "1"),
          field("a", "1") + "--b",
          field("a", "1") + "--b-",
          field("a", "1") + "--bc\r\n" + field("b", "1") + "--b--",
          std::string("--b\nContent-Disposition: form-data; name=\"a\"\n\n1\n--b--"),
          std::string("--b\r\n\r\n1\r\n--b--"),
          std::string("--b\r\n\r\n\r\n1\r\n--b--"),
          std::string("--b\r\nContent-Type: text/plain\r\n\r\n1\r\n--b--"),
          part("attachment; name=\"a\"", "1") + "--b--",
          part("form-data", "1") + "--b--",
          part("form-data; name=\"\"", "1") + "--b--",
          part("form-data; name=\"a", "1") + "--b--",
          part("form-data; filename=\"a\"", "1") + "--b--",
          std::string("--b\r\nno colon\r\n\r\n1\r\n--b--"),
          part("form-data; name=\"a\"; x=" + std::string(4096, 'x'), "1") + "--b--"}) {
        EXPECT_EQ(refusal(body), 400) << body;
    }
}

TEST(Multipart, MayHaveNoMorePartsThanItMay) {
    std::string body;
    for (int i = 0; i < 5; ++i) body += field(concat("f", i), "x");
    EXPECT_EQ(refusal(body + "--b--", 5), 0);
    EXPECT_EQ(refusal(body + "--b--", 4), 413);
    EXPECT_EQ(refusal("--b--", 0), 0);
}

}  // namespace
}  // namespace zoodip
