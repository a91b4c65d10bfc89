// What a full disk does to files that are written atomically.
#include <filesystem>
#include <string>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

#include "full_disk.h"

#include "core/error.h"
#include "io/atomic_file.h"

namespace zoodip {
namespace {

TEST(AtomicFile, AFullDiskKeepsTheEarlierFile) {
    namespace fs = std::filesystem;
    const fs::path folder = fs::temp_directory_path() / ("zoodip_full_" + std::to_string(getpid()));
    fs::create_directories(folder);
    const fs::path file = folder / "token";
    const std::vector<std::byte> small(10, std::byte{1}), large(1 << 20, std::byte{2});
    const std::span<const std::byte> old_part = small, new_part = large;
    write_file_atomic(file, {&old_part, 1});
    {
        const FullDisk full(1000);
        try {
            write_file_atomic(file, {&new_part, 1});
            ADD_FAILURE() << "written to a full disk";
        } catch (const Error& error) {
            EXPECT_NE(std::string(error.what()).find(file.string()), std::string::npos);
        }
        EXPECT_THROW(probe_writable(folder / "other"), Error);
    }
    EXPECT_EQ(read_file(file, 100), small);
    EXPECT_EQ(std::distance(fs::directory_iterator(folder), fs::directory_iterator()), 1);
    fs::remove_all(folder);
}

}  // namespace
}  // namespace zoodip
