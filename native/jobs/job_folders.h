// Jobs on the disk: a folder each, that is there whole or not at all.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"
#include "io/file_lock.h"
#include "jobs/job.h"

namespace zoodip {

// The disk did not take what had to be kept; the message names the file and the reason.
class StorageError : public Error {
  public:
    using Error::Error;
};

struct NewPicture {
    std::string extension;  // ".jpg"
    std::string bytes;
    std::string name = {};  // what who sent it calls it
};

// ROOT/ID/job.json, events.jsonl, token.safetensors, pictures/, previews/. Names that begin with a
// dot are jobs that were never accepted, or were deleted: they are removed at the next start.
class JobFolders {
  public:
    // Makes the folder if it is missing, and holds it alone. Throws Error when another process
    // does, or it cannot be written.
    explicit JobFolders(std::filesystem::path root);

    // Every job that was accepted, oldest first. One whose record is damaged is left where it is
    // and passed over with a warning.
    std::vector<Job> load() const;

    // A folder that is not there yet: nobody sees it before `accept`.
    std::filesystem::path stage(const std::string& id, std::span<const NewPicture> pictures) const;
    // Makes a staged job one that is there; it survives a power cut from then on. Throws
    // StorageError, and nothing is left of it then.
    void accept(const Job& job) const;
    void drop_staged(const std::string& id) const noexcept;

    // Throws StorageError; the record before it is then as it was.
    void save(const Job& job) const;
    void remove(const std::string& id) const;
    // Removes what was learned: token, best token, states, previews.
    void discard_learned(const std::string& id) const noexcept;

    const std::filesystem::path& root() const { return root_; }
    std::filesystem::path folder(const std::string& id) const { return root_ / id; }
    // The pictures of one job as another's own. Throws StorageError.
    static void copy_pictures(const std::filesystem::path& from, const std::filesystem::path& to);
    static std::filesystem::path token_in(const std::filesystem::path& folder);
    static std::filesystem::path previews_in(const std::filesystem::path& folder);
    static std::filesystem::path pictures_in(const std::filesystem::path& folder);
    // previews/000500.png, so that names sort as steps do. extension: with its dot.
    static std::filesystem::path preview_in(const std::filesystem::path& folder, std::int64_t step,
                                            const char* extension);
    static std::filesystem::path events_in(const std::filesystem::path& folder);

  private:
    std::filesystem::path root_;
    FileLock lock_;
};

}  // namespace zoodip
