#include <string>

#include <gtest/gtest.h>

#include "core/json.h"

namespace zoodip {
namespace {

std::string nested(int depth) {
    return std::string(static_cast<std::size_t>(depth), '[') +
           std::string(static_cast<std::size_t>(depth), ']');
}

TEST(ParseJson, ReadsValuesAndMarksWhatIsNone) {
    EXPECT_EQ(parse_json(R"({"a": [1, "b", null]})"), nlohmann::json({{"a", {1, "b", nullptr}}}));
    EXPECT_EQ(parse_json("3"), nlohmann::json(3));
    for (const char* text : {"", "{", "[1,]", "nul", "{} {}", "\"\xff\"", "\"\xc3\""}) {
        EXPECT_TRUE(parse_json(text).is_discarded()) << text;
    }
}

TEST(ParseJson, RefusesDeepNesting) {
    EXPECT_TRUE(parse_json(nested(max_json_depth)).is_array());
    EXPECT_TRUE(parse_json(nested(max_json_depth + 1)).is_discarded());
    EXPECT_TRUE(parse_json(nested(1'000'000)).is_discarded());
    EXPECT_TRUE(parse_json("{\"a\":" + nested(1'000'000) + "}").is_discarded());
}

TEST(ShowJson, TakesAnyBytes) {
    EXPECT_EQ(show_json({{"a", "\xc3\xa9"}}), "{\"a\":\"\xc3\xa9\"}");
    EXPECT_EQ(show_json("a\xff"), "\"a\xef\xbf\xbd\"");
    EXPECT_TRUE(is_utf8("\xc3\xa9"));
    EXPECT_FALSE(is_utf8("a\xff"));
}

}  // namespace
}  // namespace zoodip
