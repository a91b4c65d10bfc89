// What token files say of themselves, whatever is in their metadata.
#include <map>
#include <string>

#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include "expect_in.h"

#include "reports/token_description.h"

namespace zoodip {
namespace {

using Metadata = std::map<std::string, std::string>;

TokenDescription describe(const Metadata& metadata, std::int64_t width = 768) {
    TokenFile token;
    token.word = "sks";
    token.vectors = {{"clip_l", at::ones({1, width})}};
    token.stored = {{"clip_l", Dtype::f16}};
    token.metadata = metadata;
    return describe_token(token);
}

TEST(TokenDescription, GivesWhatTheRecordHolds) {
    const TokenDescription token =
        describe({{"word", "sks"},
                  {"step", "12"},
                  {"format", "pt"},
                  {"zoodip",
                   R"({"zoodip":"0.1.0","family":"F","initialiser":"dog","model":"abc","word":"sks",
              "settings":{"seed":5,"steps":12,"n":2},"start":"def",
              "pictures":[{"name":"0.png","sha256":"123","caption":"a {}","other_words":"x"},7]})"},
                  {"other", "thing"}});
    EXPECT_TRUE(token.ours);
    EXPECT_EQ(token.version, "0.1.0");
    EXPECT_EQ(token.family, "F");
    EXPECT_EQ(token.initialiser, "dog");
    EXPECT_EQ(token.model, "abc");
    EXPECT_EQ(token.step, 12);
    EXPECT_EQ(token.seed, 5);
    EXPECT_EQ(token.changed, nlohmann::json::parse(R"({"seed":5,"steps":12})"));
    ASSERT_EQ(token.pictures.size(), 2u);
    EXPECT_EQ(token.pictures[0].name, "0.png");
    EXPECT_EQ(token.pictures[0].sha256, "123");
    EXPECT_EQ(token.pictures[0].caption, "a {}");
    EXPECT_EQ(token.pictures[1].name, "");
    EXPECT_EQ(token.more, nlohmann::json::parse(R"({"word":"sks","start":"def"})"));
    EXPECT_EQ(token.metadata, (Metadata{{"other", "thing"}}));
    for (const char* line :
         {"word         sks\n", "made by      zoodip 0.1.0\n", "seed         5\n",
          "settings     steps 12; else the defaults\n", "start        def\n",
          "  0.png      123  a {}\n", "other        thing\n",
          "clip_l       1 vector of 768 numbers, norm ", ", stored as F16\n"}) {
        expect_in(line, to_text(token));
    }
}

// mu follows from compute, tau from the width: what the run resolved is no choice of the user's.
TEST(TokenDescription, TellsChoicesFromDefaultsThatFollowFromOthers) {
    const auto changed = [](const std::string& settings, std::int64_t width) {
        return describe({{"zoodip", "{\"settings\":" + settings + "}"}}, width).changed.dump();
    };
    EXPECT_EQ(changed(R"({"mu":0.001,"tau":128,"resolution":512})", 768), "{}");
    EXPECT_EQ(changed(R"({"mu":0.01,"compute":"bf16"})", 768), R"({"compute":"bf16"})");
    EXPECT_EQ(changed(R"({"mu":0.01,"compute":"fp32"})", 768), R"({"mu":0.01})");
    EXPECT_EQ(changed(R"({"tau":11})", 64), "{}");
    EXPECT_EQ(changed(R"({"tau":128})", 64), R"({"tau":128})");
    // Left out, one of these would contradict the other.
    EXPECT_EQ(changed(R"({"t_lower":950,"t_upper":1000})", 768),
              R"({"t_lower":950,"t_upper":1000})");
    // Of another version of zoodip.
    EXPECT_EQ(changed(R"({"phase_of_moon":[1]})", 768), R"({"phase_of_moon":[1]})");
}

TEST(TokenDescription, SurvivesAnyMetadata) {
    const std::string deep = std::string(100000, '[') + std::string(100000, ']');
    for (const std::string& record :
         {std::string("3"), std::string("{"), deep, R"({"zoodip":"1","x":)" + deep + "}",
          std::string("[]"),
          std::string(R"({"zoodip":1,"settings":[],"pictures":{},"model":null})"),
          std::string(R"({"settings":{"steps":"many","seed":0.5},"pictures":[[]]})")}) {
        const TokenDescription token = describe({{"zoodip", record}, {"step", "soon"}});
        EXPECT_TRUE(token.ours);
        EXPECT_FALSE(token.step || token.seed);
        EXPECT_EQ(token.metadata, (Metadata{{"step", "soon"}}));
        expect_in("its record of how cannot be read", to_text(token));
        EXPECT_FALSE(to_json(token).dump().empty());
    }
    EXPECT_FALSE(describe({{"step", "99999999999999999999"}}).step);
}

TEST(TokenDescription, ShowsForeignMetadataOnLinesOfTheirOwn) {
    const std::string text = to_text(describe({{"ss_tag",
                                                "a\n\x1b[31m\xc2\x9b"
                                                "2J\xc3\xa9"},
                                               {"long", std::string(159, 'x') + "\xc3\xa9yyy"}}));
    expect_in("made by      another program, or unknown\n", text);
    expect_in("ss_tag       a  [31m 2J\xc3\xa9\n", text);
    expect_in("long         " + std::string(159, 'x') + "\xc3\xa9...\n", text);
    EXPECT_EQ(to_json(describe({})).at("zoodip"), nlohmann::json());
}

}  // namespace
}  // namespace zoodip
