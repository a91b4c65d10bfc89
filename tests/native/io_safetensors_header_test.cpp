// Headers that are well-formed JSON, or nearly, and still must not be believed.
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

#include "core/error.h"
#include "io/atomic_file.h"
#include "io/safetensors.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;

class SafetensorsHeader : public testing::Test {
  protected:
    void SetUp() override {
        folder_ = fs::temp_directory_path() / ("zoodip_header_" + std::to_string(getpid()));
        fs::create_directories(folder_);
    }
    void TearDown() override { fs::remove_all(folder_); }

    fs::path path() const { return folder_ / "file.safetensors"; }
    void write_raw(const std::string& bytes) const {
        std::ofstream(path(), std::ios::binary) << bytes;
    }
    void write_header(const std::string& header, std::size_t data) const {
        std::string length(8, '\0');
        for (std::size_t i = 0; i < 8; ++i) {
            length[i] = static_cast<char>(header.size() >> (8 * i) & 0xFF);
        }
        write_raw(length + header + std::string(data, '\1'));
    }
    void expect_refusal(const std::string& part) const {
        try {
            const SafetensorsFile file(path());
            ADD_FAILURE() << "accepted, expected: " << part;
        } catch (const Error& error) {
            EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
        }
    }

    fs::path folder_;
};

TEST_F(SafetensorsHeader, RefusesTwoOfAKeyAtAnyDepth) {
    write_header(R"({"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1);
    expect_refusal("'dtype' twice");
    write_header(R"({"__metadata__":{"k":"1","k":"2"}})", 0);
    expect_refusal("'k' twice");
}

TEST_F(SafetensorsHeader, NamesEveryPickleAndAnyText) {
    for (const char protocol : {2, 3, 4, 5}) {
        write_raw(std::string("\x80") + protocol + std::string(100, '\x95'));
        expect_refusal("is a Python pickle");
    }
    write_raw("Entry not found");
    expect_refusal("is a text page");
}

// Opening one would wait for a writer that never comes.
TEST_F(SafetensorsHeader, RefusesPipes) {
    ASSERT_EQ(mkfifo(path().c_str(), 0600), 0);
    expect_refusal("is a device or a pipe");
    EXPECT_THROW(read_file(path(), 100), Error);
}

TEST_F(SafetensorsHeader, RefusesToWriteANameTwice) {
    const std::byte byte{1};
    const TensorToWrite tensor{"a", Dtype::u8, {1}, {&byte, 1}};
    EXPECT_THROW(write_safetensors(path(), {tensor, tensor}, {}), Error);
    EXPECT_THROW(write_safetensors(path(), {{"__metadata__", Dtype::u8, {1}, {&byte, 1}}}, {}),
                 Error);
    EXPECT_FALSE(fs::exists(path()));
}

// Whatever a header states, an accepted file can be read whole and lies within its bytes.
TEST_F(SafetensorsHeader, RandomOnesAreReadOrRefused) {
    std::mt19937_64 random(7);
    const std::vector<std::string> numbers = {"0",
                                              "1",
                                              "2",
                                              "4",
                                              "8",
                                              "12",
                                              "16",
                                              "-1",
                                              "1.5",
                                              "1e3",
                                              "281474976710655",
                                              "18446744073709551615",
                                              "99999999999999999999999",
                                              "null",
                                              "\"8\"",
                                              "[]"};
    const std::vector<std::string> types = {"F64", "F32", "F16", "BF16", "U8", "I4", "BOOL", ""};
    const auto any = [&](const std::vector<std::string>& from) {
        return from[random() % from.size()];
    };
    int accepted = 0;
    for (int round = 0; round < 3000; ++round) {
        std::string header = "{";
        for (std::uint64_t left = random() % 3; left > 0; --left) {
            if (header.size() > 1) header += ',';
            header += concat('"', static_cast<char>('a' + random() % 4), R"(":{"dtype":")",
                             any(types), R"(","shape":[)", any(numbers));
            if (random() % 2 == 0) header += concat(',', any(numbers));
            header += concat(R"(],"data_offsets":[)", any(numbers), ',', any(numbers), "]}");
        }
        if (random() % 20 != 0) header += '}';
        write_header(header, random() % 17);
        try {
            const SafetensorsFile file(path());
            for (const TensorInfo& tensor : file.tensors()) {
                ASSERT_LE(tensor.end, fs::file_size(path()));
                std::vector<std::byte> out(tensor.end - tensor.begin);
                file.read(tensor, out);
            }
            ++accepted;
        } catch (const Error&) {
        }
    }
    EXPECT_GT(accepted, 0);
}

}  // namespace
}  // namespace zoodip
