#include <optional>

#include <gtest/gtest.h>

#include "core/settings.h"
#include "core/sha256.h"

namespace zoodip {
namespace {

enum class Colour { red, blue };
const NameTable<std::optional<Colour>> colours =
    with_auto<Colour>({{Colour::red, "red"}, {Colour::blue, "blue"}});

struct Options {
    std::int64_t steps = 10;
    double rate = 0.5;
    bool fast = false;
    std::string kind = "plain";
    std::optional<Colour> colour;
};

const std::vector<Setting<Options>> fields = {
    {"steps", &Options::steps, 1, 100, {}, "steps", "How many.", ""},
    {"rate", &Options::rate, 0.1, 1, {}, "", "How fast.", "x += rate"},
    {"fast", &Options::fast, 0, 0, {}, "", "Whether.", ""},
    {"kind", &Options::kind, 0, 0, {"plain", "fancy"}, "", "Which.", ""},
    {"colour", named_member(&Options::colour, colours), 0, 0, names_in(colours), "", "Of it.", ""},
};

std::string message(const nlohmann::json& values) {
    try {
        Options options;
        set_fields(options, fields, values);
    } catch (const Error& error) {
        return error.what();
    }
    return "accepted";
}

TEST(Settings, AreSetByName) {
    Options options;
    EXPECT_EQ(get_field(options, fields.back()), "auto");
    set_fields(options, fields,
               {{"steps", 20}, {"rate", 1}, {"fast", true}, {"kind", "fancy"}, {"colour", "blue"}});
    EXPECT_EQ(options.steps, 20);
    EXPECT_EQ(options.rate, 1.0);
    EXPECT_TRUE(options.fast);
    EXPECT_EQ(options.kind, "fancy");
    EXPECT_EQ(options.colour, Colour::blue);
    EXPECT_EQ(
        get_fields(options, fields),
        nlohmann::json(
            {{"steps", 20}, {"rate", 1.0}, {"fast", true}, {"kind", "fancy"}, {"colour", "blue"}}));
    set_fields(options, fields, {{"colour", "auto"}});
    EXPECT_EQ(options.colour, std::nullopt);
}

TEST(Settings, RefuseWithRangeChoicesAndNearestName) {
    EXPECT_EQ(message({{"steps", 0}}), "steps: needs a whole number from 1 to 100, got 0");
    EXPECT_EQ(message({{"steps", 1.5}}), "steps: needs a whole number from 1 to 100, got 1.5");
    EXPECT_EQ(message({{"rate", "x"}}), "rate: needs a number from 0.1 to 1, got \"x\"");
    EXPECT_EQ(message({{"fast", 1}}), "fast: needs true or false, got 1");
    EXPECT_EQ(message({{"kind", "odd"}}), "kind: needs one of plain, fancy; got 'odd'");
    EXPECT_EQ(message({{"colour", "green"}}), "colour: needs one of auto, red, blue; got 'green'");
    EXPECT_EQ(message({{"colour", 1}}), "colour: needs text, got 1");
    EXPECT_EQ(message({{"kind", "\xff"}}), "kind: needs text in UTF-8, got \"\xef\xbf\xbd\"");
    EXPECT_EQ(message({{"rate", "\xff"}}),
              "rate: needs a number from 0.1 to 1, got \"\xef\xbf\xbd\"");
    EXPECT_EQ(message({{"stepz", 3}}), "settings: there is no 'stepz'; did you mean 'steps'?");
    EXPECT_EQ(message(nlohmann::json::array()), "settings: needs a JSON object, got []");
    EXPECT_NE(message({{"rate", std::nan("")}}), "accepted");
}

TEST(Settings, DescribeThemselves) {
    const nlohmann::json description = describe_fields(fields);
    ASSERT_EQ(description.size(), fields.size());
    EXPECT_EQ(description[0]["type"], "integer");
    EXPECT_EQ(description[0]["maximum"], 100);
    EXPECT_EQ(description[1]["equation"], "x += rate");
    EXPECT_EQ(description[3]["choices"], nlohmann::json({"plain", "fancy"}));
    EXPECT_EQ(description[3]["default"], "plain");
    EXPECT_EQ(description[4]["type"], "string");
    EXPECT_EQ(description[4]["choices"], nlohmann::json({"auto", "red", "blue"}));
    EXPECT_EQ(description[4]["default"], "auto");
    EXPECT_FALSE(description[0].contains("group"));
    EXPECT_FALSE(description[0].contains("decides"));
    std::vector<Setting<Options>> grouped = fields;
    grouped[0].group = "time";
    grouped[0].decides = false;
    EXPECT_EQ(describe_fields(grouped)[0]["group"], "time");
    EXPECT_EQ(describe_fields(grouped)[0]["decides"], false);
}

TEST(Names, GoBothWays) {
    EXPECT_EQ(name_of(colours, Colour::red), "red");
    EXPECT_EQ(name_of(colours, std::nullopt), "auto");
    EXPECT_EQ(value_named(colours, "colour", "blue"), Colour::blue);
    EXPECT_EQ(find_named(colours, "green"), nullptr);
    try {
        value_named(colours, "colour", "green");
        FAIL() << "accepted";
    } catch (const Error& error) {
        EXPECT_STREQ(error.what(), "colour: needs auto, red or blue, got 'green'");
    }
}

TEST(Settings, NumbersAreWrittenToBeReadBack) {
    EXPECT_EQ(format_number(5), "5");
    EXPECT_EQ(format_number(-3), "-3");
    EXPECT_EQ(format_number(0.001), "0.001");
    EXPECT_EQ(format_number(1e-8), "1e-08");
    EXPECT_EQ(format_number(9007199254740991.0), "9007199254740991");
    EXPECT_EQ(format_number(1e300), "1e+300");
}

// The examples of FIPS 180-4 and the NIST test vectors.
TEST(Sha256, KnownAnswers) {
    const auto digest = [](const std::string& text) {
        Sha256 hash;
        hash.update(text);
        return hash.hex();
    };
    EXPECT_EQ(digest(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    EXPECT_EQ(digest("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    EXPECT_EQ(digest("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
              "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    EXPECT_EQ(digest(std::string(1000000, 'a')),
              "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, DoesNotDependOnHowBytesArrive) {
    const std::string text(300, 'z');
    Sha256 whole;
    whole.update(text);
    for (std::size_t cut = 0; cut <= text.size(); cut += 7) {
        Sha256 parts;
        parts.update(text.substr(0, cut));
        parts.update(text.substr(cut));
        EXPECT_EQ(parts.hex(), whole.hex()) << cut;
    }
}

}  // namespace
}  // namespace zoodip
