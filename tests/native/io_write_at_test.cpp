// Writing at a place of a file.
#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include "full_disk.h"
#include "temporary_folder.h"

#include "core/error.h"
#include "io/atomic_file.h"

namespace zoodip {
namespace {

void put(const std::filesystem::path& file, std::uint64_t place, std::string_view text) {
    write_at(file, place, std::as_bytes(std::span(text)));
}

TEST(WriteAt, MakesTheFileAndEndsBehindWhatWasWritten) {
    const TemporaryFolder folder;
    put(folder / "a", 0, "one two three");
    EXPECT_EQ(read_text(folder / "a"), "one two three");
    put(folder / "a", 4, "2");
    EXPECT_EQ(read_text(folder / "a"), "one 2");
    put(folder / "a", 5, " and more");
    EXPECT_EQ(read_text(folder / "a"), "one 2 and more");
}

TEST(WriteAt, KeepsWhatLiesBeforeOnAFullDisk) {
    const TemporaryFolder folder;
    const std::string before(100, 'a');
    put(folder / "a", 0, before);
    {
        const FullDisk full(150);
        try {
            put(folder / "a", 100, std::string(1000, 'b'));
            ADD_FAILURE() << "written to a full disk";
        } catch (const Error& error) {
            EXPECT_NE(std::string(error.what()).find(folder / "a"), std::string::npos);
        }
    }
    EXPECT_EQ(read_text(folder / "a").substr(0, 100), before);
    put(folder / "a", 100, "c");
    EXPECT_EQ(read_text(folder / "a"), before + "c");
}

TEST(WriteAt, NamesTheFileThatCannotBeWritten) {
    const TemporaryFolder folder;
    EXPECT_THROW(put(folder / "missing/a", 0, "x"), Error);
    EXPECT_THROW(put(folder.path(), 0, "x"), Error);
}

}  // namespace
}  // namespace zoodip
