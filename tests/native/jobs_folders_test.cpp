// Jobs on the disk: whole or not at all, for one process at a time.
#include <cerrno>
#include <filesystem>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

#include "full_disk.h"
#include "temporary_folder.h"

#include "jobs/job_folders.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;

const std::string first_id = "0000000000000001", second_id = "0000000000000002";

Job job_of(const std::string& id, std::uint64_t sequence = 1) {
    Job job;
    job.id = id;
    job.sequence = sequence;
    job.request.word = "sks";
    return job;
}

void add(const JobFolders& folders, const Job& job) {
    folders.stage(job.id, {});
    folders.accept(job);
}

std::vector<std::string> ids_in(const JobFolders& folders) {
    std::vector<std::string> ids;
    for (const Job& job : folders.load()) ids.push_back(job.id);
    return ids;
}

using Ids = std::vector<std::string>;

TEST(JobFolders, MakesItsFolderAndKeepsJobsInTheirOrder) {
    const TemporaryFolder root;
    {
        const JobFolders folders(root / "a/b");
        add(folders, job_of(second_id, 5));
        add(folders, job_of(first_id, 9));
    }
    EXPECT_EQ(ids_in(JobFolders(root / "a/b")), Ids({second_id, first_id}));
}

TEST(JobFolders, ShowsAStagedJobToNobody) {
    const TemporaryFolder root;
    const JobFolders folders(root.path());
    const std::vector<NewPicture> pictures = {{".jpg", "one"}, {".png", "two"}};
    const fs::path staged = folders.stage(first_id, pictures);
    EXPECT_TRUE(ids_in(folders).empty());
    EXPECT_FALSE(fs::exists(root / first_id));
    EXPECT_EQ(read_text(staged / "pictures/001.jpg"), "one");
    folders.accept(job_of(first_id));
    EXPECT_EQ(ids_in(folders), Ids({first_id}));
    EXPECT_FALSE(fs::exists(staged));
    EXPECT_EQ(names_in(JobFolders::pictures_in(folders.folder(first_id))),
              (std::set<std::string>{"001.jpg", "002.png"}));
}

TEST(JobFolders, DropsAStagedJob) {
    const TemporaryFolder root;
    const JobFolders folders(root.path());
    const std::vector<NewPicture> pictures = {{".jpg", "one"}};
    folders.stage(first_id, pictures);
    folders.drop_staged(first_id);
    EXPECT_EQ(names_in(root.path()), std::set<std::string>{".lock"});
}

TEST(JobFolders, RemovesWhatAnEarlierProcessLeft) {
    const TemporaryFolder root;
    write_text(root / (".new-" + first_id) / "pictures/001.jpg", "one");
    write_text(root / (".gone-" + second_id) / "job.json", "{}");
    write_text(root / "notes.txt", "the user's");
    const JobFolders folders(root.path());
    EXPECT_EQ(names_in(root.path()), (std::set<std::string>{".lock", "notes.txt"}));
}

TEST(JobFolders, PassesOverWhatIsNoRecord) {
    const TemporaryFolder root;
    const JobFolders folders(root.path());
    add(folders, job_of(first_id));
    const std::string whole = read_text(root / first_id / "job.json");
    write_text(root / "00000000000000aa/job.json", whole.substr(0, whole.size() / 2));
    write_text(root / "00000000000000ab/job.json", "");
    write_text(root / "00000000000000ac/other.json", whole);
    write_text(root / "00000000000000ad", whole);
    write_text(root / "not an id/job.json", whole);
    EXPECT_EQ(ids_in(folders), Ids({first_id}));
    EXPECT_TRUE(fs::exists(root / "00000000000000aa/job.json"));
}

TEST(JobFolders, PassesOverTheRecordOfAnotherJob) {
    const TemporaryFolder root;
    const JobFolders folders(root.path());
    add(folders, job_of(first_id));
    fs::copy(root / first_id, root / second_id);
    EXPECT_EQ(ids_in(folders), Ids({first_id}));
}

TEST(JobFolders, SavesAndRemoves) {
    const TemporaryFolder root;
    const JobFolders folders(root.path());
    Job job = job_of(first_id);
    add(folders, job);
    job.message = "changed";
    folders.save(job);
    EXPECT_EQ(folders.load().at(0).message, "changed");
    folders.remove(first_id);
    EXPECT_TRUE(folders.load().empty());
    EXPECT_EQ(names_in(root.path()), std::set<std::string>{".lock"});
    EXPECT_THROW(folders.remove(first_id), StorageError);
}

TEST(JobFolders, DiscardsWhatWasLearnedAndNothingElse) {
    const TemporaryFolder root;
    const JobFolders folders(root.path());
    add(folders, job_of(first_id));
    const fs::path folder = folders.folder(first_id);
    for (const char* name : {"token.safetensors", "token.state.safetensors", "token.best",
                             "previews/000001.png", "pictures/001.png", "events.jsonl"}) {
        write_text(folder / name, name);
    }
    folders.discard_learned(first_id);
    EXPECT_EQ(names_in(folder), (std::set<std::string>{"job.json", "events.jsonl", "pictures"}));
    folders.discard_learned("an id that is not there");
}

TEST(JobFolders, NamesPreviewsSoThatTheySortAsStepsDo) {
    EXPECT_EQ(JobFolders::preview_in("job", 500, ".png"), fs::path("job/previews/000500.png"));
    EXPECT_EQ(JobFolders::preview_in("job", 12345678, ".jpg"),
              fs::path("job/previews/12345678.jpg"));
}

TEST(JobFolders, LeavesNothingOfAJobOnAFullDisk) {
    const TemporaryFolder root;
    const JobFolders folders(root.path());
    const FullDisk full(100);
    const std::vector<NewPicture> pictures = {{".jpg", "one"}, {".jpg", std::string(1000, 'x')}};
    EXPECT_THROW(folders.stage(first_id, pictures), StorageError);
    EXPECT_EQ(names_in(root.path()), std::set<std::string>{".lock"});
    folders.stage(second_id, {});
    EXPECT_THROW(folders.accept(job_of(second_id)), StorageError);
    EXPECT_EQ(names_in(root.path()), std::set<std::string>{".lock"});
}

TEST(JobFolders, KeepTheRecordBeforeOnAFullDisk) {
    const TemporaryFolder root;
    const JobFolders folders(root.path());
    Job job = job_of(first_id);
    add(folders, job);
    job.message = std::string(10'000, 'x');
    {
        const FullDisk full(5000);
        EXPECT_THROW(folders.save(job), StorageError);
    }
    EXPECT_EQ(folders.load().at(0).message, "");
    EXPECT_EQ(names_in(root / first_id), std::set<std::string>{"job.json"});
}

TEST(JobFolders, RefuseAFolderThatCannotBeMade) {
    const TemporaryFolder root;
    write_text(root / "file", "x");
    EXPECT_THROW(JobFolders(root / "file/jobs"), Error);
    EXPECT_THROW(JobFolders(root / "file"), Error);
}

// Whether another process could hold the folder: its exit status says so.
bool other_process_takes(const fs::path& root) {
    const pid_t child = fork();
    if (child == 0) {
        try {
            const JobFolders folders(root);
            _exit(0);
        } catch (const Error& error) {
            const bool names_it = std::string(error.what()).find(root) != std::string::npos;
            _exit(names_it ? 1 : 2);
        }
    }
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) != 2) << "refused without its name";
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST(JobFolders, AreHeldByOneProcess) {
    const TemporaryFolder root;
    {
        const JobFolders folders(root.path());
        EXPECT_THROW(JobFolders(root.path()), Error);
        EXPECT_FALSE(other_process_takes(root.path()));
        // What is being accepted there is not swept away by the one that was refused.
        folders.stage(first_id, {});
        EXPECT_FALSE(other_process_takes(root.path()));
        folders.accept(job_of(first_id));
        EXPECT_EQ(ids_in(folders), Ids({first_id}));
    }
    EXPECT_TRUE(other_process_takes(root.path()));
    EXPECT_NO_THROW(JobFolders(root.path()));
}

}  // namespace
}  // namespace zoodip
