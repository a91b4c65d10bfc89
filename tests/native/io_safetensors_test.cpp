#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <unistd.h>

#include <gtest/gtest.h>

#include "core/error.h"
#include "io/atomic_file.h"
#include "io/safetensors.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;

class Safetensors : public testing::Test {
  protected:
    void SetUp() override {
        folder_ = fs::temp_directory_path() / ("zoodip_io_" + std::to_string(getpid()));
        fs::create_directories(folder_);
    }
    void TearDown() override { fs::remove_all(folder_); }

    fs::path path(const std::string& name = "file.safetensors") const { return folder_ / name; }

    void write_raw(const std::string& bytes) const {
        std::ofstream(path(), std::ios::binary) << bytes;
    }
    // A file with the given header text and `data` bytes after it.
    void write_header(const std::string& header, std::size_t data = 8) const {
        std::string length(8, '\0');
        for (std::size_t i = 0; i < 8; ++i) {
            length[i] = static_cast<char>(header.size() >> (8 * i) & 0xFF);
        }
        write_raw(length + header + std::string(data, '\1'));
    }
    std::string refusal() const {
        try {
            const SafetensorsFile file(path());
        } catch (const Error& error) {
            return error.what();
        }
        return "accepted";
    }
    void expect_refusal(const std::string& part) const {
        EXPECT_NE(refusal().find(part), std::string::npos) << refusal();
    }
    std::string bytes() const {
        const auto all = read_file(path(), 1 << 20);
        return {reinterpret_cast<const char*>(all.data()), all.size()};
    }
    void write_two() const {
        const std::vector<float> a = {1, 2, 3, 4, 5, 6};
        const std::vector<std::uint16_t> b = {7, 8};
        write_safetensors(path(),
                          {{"b", Dtype::f16, {2}, std::as_bytes(std::span(b))},
                           {"a", Dtype::f32, {2, 3}, std::as_bytes(std::span(a))}},
                          {{"word", "sks"}});
    }

    fs::path folder_;
};

TEST_F(Safetensors, ReadsWhatItWrote) {
    write_two();
    const SafetensorsFile file(path());
    ASSERT_EQ(file.tensors().size(), 2u);
    EXPECT_EQ(file.tensors()[0].name, "a");
    EXPECT_EQ(file.metadata().at("word"), "sks");
    EXPECT_EQ(file.find("c"), nullptr);
    const TensorInfo* a = file.find("a");
    ASSERT_NE(a, nullptr);
    EXPECT_EQ(a->shape, (std::vector<std::int64_t>{2, 3}));
    EXPECT_EQ(a->begin % 8, 0u);
    std::vector<float> values(6);
    file.read(*a, std::as_writable_bytes(std::span(values)));
    EXPECT_EQ(values, (std::vector<float>{1, 2, 3, 4, 5, 6}));
}

TEST_F(Safetensors, SameArgumentsGiveSameBytes) {
    write_two();
    const std::string first = bytes();
    write_two();
    EXPECT_EQ(bytes(), first);
}

TEST_F(Safetensors, NamesOtherKindsOfFile) {
    EXPECT_NE(refusal().find("cannot open"), std::string::npos);
    write_raw("");
    expect_refusal("is empty");
    write_raw(std::string("PK\x03\x04") + std::string(100, 'x'));
    expect_refusal("is a Python pickle");
    write_raw("\x80\x02}q" + std::string(100, 'x'));
    expect_refusal("is a Python pickle");
    write_raw("GGUF" + std::string(100, 'x'));
    expect_refusal("is a GGUF file");
    write_raw("<!DOCTYPE html>" + std::string(100, 'x'));
    expect_refusal("is a text page");
    write_raw(std::string(100, 'x'));
    expect_refusal("is not a .safetensors file");
}

TEST_F(Safetensors, RefusesDamagedHeaders) {
    const std::string good = R"("dtype":"F32","shape":[2],"data_offsets":[0,8])";
    write_header("{\"a\":{" + good + "}}");
    EXPECT_EQ(refusal(), "accepted");
    write_header("{\"a\":{" + good + "}}", 7);
    expect_refusal("is truncated: its tensors need 8 bytes, 7 are there");
    write_header("{\"a\":{" + good + "}}", 9);
    expect_refusal("bytes after its last tensor");
    write_header("{\"a\":{" + good + "},\"a\":{" + good + "}}");
    expect_refusal("twice");
    write_header("{\"a\":{" + good + "},\"b\":{" + good + "}}");
    expect_refusal("overlaps");
    write_header(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}})", 16);
    expect_refusal("gap");
    write_header(R"({"a":{"dtype":"F4","shape":[2],"data_offsets":[0,8]}})");
    expect_refusal("type F4, which is not supported");
    write_header(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})");
    expect_refusal("shape and its bytes disagree");
    write_header(R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})");
    expect_refusal("no valid shape");
    write_header(
        R"({"a":{"dtype":"F32","shape":[281474976710655,281474976710655],"data_offsets":[0,8]}})");
    expect_refusal("disagree");
    write_header(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})");
    expect_refusal("disagree");
    write_header(R"({"a":3})");
    expect_refusal("lacks dtype");
    write_header(R"({"__metadata__":{"x":1}})", 0);
    expect_refusal("is not text");
    write_header("{\"a\":" + std::string(100000, '['));
    expect_refusal("nested too deeply");
    write_header("{\"a\":");
    expect_refusal("not JSON");
}

TEST_F(Safetensors, EveryTruncationIsAnError) {
    write_two();
    const std::string whole = bytes();
    for (std::size_t length = 0; length < whole.size(); ++length) {
        write_raw(whole.substr(0, length));
        EXPECT_NE(refusal(), "accepted") << length;
    }
}

// Whatever bits flip, the file is refused or everything it lists can be read.
TEST_F(Safetensors, DamageNeverCrashes) {
    write_two();
    const std::string whole = bytes();
    std::mt19937 random(1);
    for (int round = 0; round < 1500; ++round) {
        std::string damaged = whole;
        for (unsigned flips = 1 + random() % 4; flips > 0; --flips) {
            damaged[random() % damaged.size()] ^= static_cast<char>(1u << random() % 8);
        }
        write_raw(damaged);
        try {
            const SafetensorsFile file(path());
            for (const TensorInfo& tensor : file.tensors()) {
                std::vector<std::byte> out(tensor.end - tensor.begin);
                file.read(tensor, out);
            }
        } catch (const Error&) {
        }
    }
}

TEST_F(Safetensors, AFileThatShrinksIsAnError) {
    write_two();
    const SafetensorsFile file(path());
    fs::resize_file(path(), fs::file_size(path()) - 1);
    std::vector<std::byte> out(4);
    EXPECT_THROW(file.read(*file.find("b"), out), Error);
}

TEST_F(Safetensors, FailedWritesLeaveTheEarlierFileAndNothingElse) {
    write_two();
    const std::string before = bytes();
    EXPECT_THROW(write_safetensors(path(), {{"a", Dtype::f32, {3}, {}}}, {}), Error);
    EXPECT_EQ(bytes(), before);
    EXPECT_THROW(write_file_atomic(path("missing/file"), {}), Error);
    EXPECT_THROW(probe_writable(path("missing/file")), Error);
    EXPECT_THROW(probe_writable(folder_), Error);
    probe_writable(path("new"));
    EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
}

}  // namespace
}  // namespace zoodip
