// Files that several threads read or write at once. A data race is for ThreadSanitizer to see
// (tests/sanitize.py thread).
#include <algorithm>
#include <atomic>
#include <filesystem>
#include <string>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

#include "in_threads.h"

#include "core/error.h"
#include "io/atomic_file.h"
#include "io/safetensors.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;
using Bytes = std::vector<std::byte>;

class FilesOfThreads : public testing::Test {
  protected:
    void SetUp() override {
        folder_ = fs::temp_directory_path() / ("zoodip_threads_" + std::to_string(getpid()));
        fs::create_directories(folder_);
    }
    void TearDown() override { fs::remove_all(folder_); }

    fs::path path(const std::string& name) const { return folder_ / name; }
    std::ptrdiff_t files() const {
        return std::distance(fs::directory_iterator(folder_), fs::directory_iterator());
    }

    fs::path folder_;
};

void write(const fs::path& file, const Bytes& bytes) {
    const std::span<const std::byte> part = bytes;
    write_file_atomic(file, {&part, 1});
}

// What thread `i` writes: its own byte, as often as tells it from the others by its length too.
Bytes written_by(int i) {
    return Bytes(static_cast<std::size_t>(10000 + i), static_cast<std::byte>(i));
}

// Many small reads, so that a position that the threads shared would soon be another's.
TEST_F(FilesOfThreads, AreReadByAllAtOnce) {
    constexpr std::size_t tensors = 8, size = 16, reads = 20000;
    std::vector<std::vector<std::int32_t>> values;
    std::vector<TensorToWrite> parts;
    for (std::size_t t = 0; t < tensors; ++t) values.emplace_back(size, static_cast<int>(t));
    for (std::size_t t = 0; t < tensors; ++t) {
        const auto bytes = std::as_bytes(std::span(values[t]));
        parts.push_back({std::to_string(t), Dtype::i32, {size}, bytes});
    }
    write_safetensors(path("file.safetensors"), parts, {});
    const SafetensorsFile file(path("file.safetensors"));
    std::atomic<int> wrong{0};
    in_threads(4, [&](int thread) {
        std::vector<std::int32_t> out(size);
        for (std::size_t i = 0; i < reads; ++i) {
            const std::size_t t = (i + static_cast<std::size_t>(thread)) % tensors;
            file.read(file.tensors()[t], std::as_writable_bytes(std::span(out)));
            if (out != values[t]) ++wrong;
        }
    });
    EXPECT_EQ(wrong, 0);
}

// A reader beside the writers sees what one of them wrote, whole.
TEST_F(FilesOfThreads, OneFileOfSeveralWritersIsAlwaysWhole) {
    constexpr int writers = 3, rounds = 10;
    const fs::path file = path("token");
    write(file, written_by(0));
    std::atomic<int> torn{0}, left{writers};
    in_threads(writers + 1, [&](int thread) {
        if (thread < writers) {
            for (int i = 0; i < rounds; ++i) write(file, written_by(thread));
            --left;
            return;
        }
        do {
            const Bytes bytes = read_file(file, 1 << 20);
            const int writer = static_cast<int>(bytes.size()) - 10000;
            if (bytes != written_by(writer)) ++torn;
        } while (left > 0);
    });
    EXPECT_EQ(torn, 0);
    EXPECT_EQ(files(), 1);
}

TEST_F(FilesOfThreads, FilesOfTheirOwnDoNotMeet) {
    constexpr int writers = 4;
    in_threads(writers, [&](int thread) {
        for (int i = 0; i < 5; ++i) {
            probe_writable(path(std::to_string(thread)));
            write(path(std::to_string(thread)), written_by(thread));
        }
    });
    for (int i = 0; i < writers; ++i) {
        EXPECT_EQ(read_file(path(std::to_string(i)), 1 << 20), written_by(i)) << i;
    }
    EXPECT_EQ(files(), writers);
}

}  // namespace
}  // namespace zoodip
