// What commands write is checked before they begin, and theirs alone while they go on.
#include <filesystem>
#include <fstream>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

#include "temporary_folder.h"

#include "core/error.h"
#include "io/atomic_file.h"
#include "io/file_lock.h"
#include "io/outputs.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;
using Names = std::set<std::string>;

// The message of the Error; empty when there is none.
template <class Work>
std::string refusal(const Work& work) {
    try {
        work();
    } catch (const Error& error) {
        return error.what();
    }
    return "";
}

bool says(const std::string& message, const std::string& part) {
    return message.find(part) != std::string::npos;
}

const FileLock::Words words = {"another holds it", "wait", "a test"};

TEST(FileLock, SaysWhoHoldsIt) {
    const TemporaryFolder folder;
    {
        const FileLock lock(folder / "lock", words);
        const std::string told = refusal([&] { FileLock(folder / "lock", words); });
        EXPECT_TRUE(says(
            told, "another holds it (process " + std::to_string(getpid()) + ", a test, since 2"))
            << told;
        EXPECT_TRUE(told.ends_with("): wait")) << told;
    }
    EXPECT_EQ(names_in(folder.path()), Names{});
    EXPECT_NE(refusal([&] { FileLock(folder / "missing/lock", words); }), "");
}

TEST(FileLock, OfADeadProcessIsFree) {
    const TemporaryFolder folder;
    const pid_t child = fork();
    if (child == 0) {
        new FileLock(folder / "lock", words);
        _exit(0);  // as if it were killed
    }
    waitpid(child, nullptr, 0);
    ASSERT_EQ(names_in(folder.path()), Names{"lock"});
    { const FileLock lock(folder / "lock", words); }
    EXPECT_EQ(names_in(folder.path()), Names{});
}

TEST(FileLock, OfAForkedProcessStaysItsParents) {
    const TemporaryFolder folder;
    auto lock = std::make_unique<FileLock>(folder / "lock", words);
    const pid_t child = fork();
    if (child == 0) {
        lock.reset();  // its copy
        _exit(0);
    }
    waitpid(child, nullptr, 0);
    EXPECT_TRUE(fs::exists(folder / "lock"));
    EXPECT_NE(refusal([&] { FileLock(folder / "lock", words); }), "");
}

TEST(FileLock, LeavesOtherFilesAlone) {
    const TemporaryFolder folder;
    write_text(folder / "lock", "my diary");
    EXPECT_TRUE(says(refusal([&] { FileLock(folder / "lock", words); }), "is in the way"));
    EXPECT_EQ(read_text(folder / "lock"), "my diary");
    fs::create_symlink(folder / "lock", folder / "link");
    EXPECT_NE(refusal([&] { FileLock(folder / "link", words); }), "");
    EXPECT_EQ(read_text(folder / "lock"), "my diary");
}

// However the removal of the file by one falls into the opening by another.
TEST(FileLock, IsOneThreadsAtATime) {
    const TemporaryFolder folder;
    std::atomic<int> inside{0}, most{0}, taken{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] {
            for (int round = 0; round < 500; ++round) {
                try {
                    const FileLock lock(folder / "lock", words);
                    most = std::max(most.load(), ++inside);
                    ++taken;
                    --inside;
                } catch (const Error&) {
                    std::this_thread::yield();
                }
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(most, 1);
    EXPECT_GT(taken, 0);
    EXPECT_EQ(names_in(folder.path()), Names{});
}

class OutputsTest : public ::testing::Test {
  protected:
    OutputsTest() {
        write_text(folder / "model", "weights");
        write_text(folder / "parts/unet/weights", "weights");
    }

    Outputs outputs() const {
        return Outputs("a test",
                       {{folder / "model", "the model"}, {folder / "parts", "the model"}});
    }
    std::string refused(const fs::path& file) const {
        return refusal([&] { outputs().hold("out", file, file); });
    }

    const TemporaryFolder folder;
};

TEST_F(OutputsTest, AreNoInputsWhateverTheyAreCalled) {
    fs::create_hard_link(folder / "model", folder / "hard");
    fs::create_symlink(folder / "model", folder / "soft");
    fs::create_directory_symlink(folder.path(), folder / "again");
    fs::create_hard_link(folder / "parts/unet/weights", folder / "part");
    for (const char* name : {"model", "./model", "parts/../model", "hard", "soft", "again/model"}) {
        EXPECT_TRUE(says(refused(folder / name), "is the model itself: name another `out`"))
            << name;
    }
    for (const char* name :
         {"parts/unet/weights", "parts/new", "parts/unet/new", "again/parts/new", "part"}) {
        EXPECT_TRUE(says(refused(folder / name), "is part of the model")) << name;
    }
    EXPECT_EQ(refused(folder / "new"), "");
    EXPECT_EQ(read_text(folder / "model"), "weights");
}

TEST_F(OutputsTest, OfAFolderCountWhatIsReadThere) {
    const Input pictures = {folder / "parts", "the pictures",
                            [](const fs::path& file) { return file.extension() == ".png"; }};
    const Outputs outputs("a test", {pictures});
    EXPECT_NE(refusal([&] { outputs.check("log", folder / "parts/a.png"); }), "");
    EXPECT_EQ(refusal([&] { outputs.check("log", folder / "parts/a.log"); }), "");
}

TEST_F(OutputsTest, NeedAFolder) {
    EXPECT_TRUE(says(refused(folder / "no/file"), "does not exist. Create it"));
    EXPECT_TRUE(says(refused(folder / "model/file"), "is not a folder"));
    fs::create_directory(folder / "is");
    EXPECT_TRUE(says(refused(folder / "is"), "it is a folder"));
}

TEST_F(OutputsTest, AreOneCommandsAtATimeAndDifferent) {
    fs::create_directory_symlink(folder.path(), folder / "again");
    {
        Outputs first = outputs();
        first.hold("out", folder / "word", folder / "word");
        const std::string taken = refused(folder / "again/word");
        EXPECT_TRUE(says(taken, "out: another run writes ")) << taken;
        EXPECT_TRUE(says(taken, "(process ") && says(taken, "name another `out`")) << taken;
        const std::string twice =
            refusal([&] { first.hold("log", folder / "./word", folder / "./word"); });
        EXPECT_TRUE(says(twice, "is what `out` writes: name another `log`")) << twice;
        EXPECT_EQ(refused(folder / "other"), "");
    }
    EXPECT_EQ(refused(folder / "word"), "");
    EXPECT_EQ(names_in(folder.path()), (Names{"model", "parts", "again"}));
}

TEST_F(OutputsTest, MakeFoldersThatGoAgainWhenNothingIsWritten) {
    {
        Outputs first = outputs();
        first.hold_folder("previews", folder / "deep/er/");
        EXPECT_TRUE(fs::is_directory(folder / "deep/er"));
        Outputs second = outputs();
        EXPECT_TRUE(says(refusal([&] { second.hold_folder("previews", folder / "deep/er"); }),
                         "another run writes"));
    }
    EXPECT_FALSE(fs::exists(folder / "deep"));
    {
        Outputs first = outputs();
        first.hold_folder("previews", folder / "deep/er");
        write_text(folder / "deep/er/file", "text");
    }
    EXPECT_EQ(names_in(folder / "deep/er"), Names{"file"});
    Outputs third = outputs();
    EXPECT_TRUE(
        says(refusal([&] { third.hold_folder("previews", folder / "model"); }), "is not a folder"));
    EXPECT_NE(refusal([&] { third.hold_folder("previews", folder / "model/deep"); }), "");
}

TEST_F(OutputsTest, ThatAreThereAreReplacedOnRequest) {
    EXPECT_TRUE(says(refusal([&] { require_free("out", folder / "model", false); }),
                     "exists: name another `out`, or add `overwrite`"));
    EXPECT_EQ(refusal([&] { require_free("out", folder / "model", true); }), "");
    fs::create_symlink(folder / "nowhere", folder / "dangling");
    EXPECT_NE(refusal([&] { require_free("out", folder / "dangling", false); }), "");
    EXPECT_EQ(behind_links(folder / "dangling"), folder / "nowhere");
}

TEST(AtomicFile, ANameWithoutRoomForTheTemporaryOneIsRefusedAtOnce) {
    const TemporaryFolder folder;
    for (std::size_t length = 200; length <= 256; ++length) {
        const fs::path file = folder / std::string(length, 'y');
        if (refusal([&] { probe_writable(file); }) != "") continue;
        const std::byte byte{1};
        const std::span<const std::byte> part(&byte, 1);
        EXPECT_EQ(refusal([&] { write_file_atomic(file, {&part, 1}); }), "") << length;
    }
    EXPECT_NE(refusal([&] { probe_writable(folder / std::string(250, 'y')); }), "");
    EXPECT_EQ(refusal([&] { probe_writable(folder / std::string(200, 'y')); }), "");
}

}  // namespace
}  // namespace zoodip
