// Jobs on the disk: a folder each, that is there whole or not at all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
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

inline constexpr std::uint64_t min_kept_mb = 16, max_kept_mb = 65536;  // of 2^20 bytes

struct NewPicture {
    std::string extension;  // ".jpg"
    std::string bytes;
    std::string name = {};  // what who sent it calls it
};

// ROOT/store.json: the size limit. ROOT/ID/job.json, events.jsonl, curve.bin, validations.bin,
// pictures/, previews/; token.safetensors and what else the engine keeps beside it, and
// word.NAME.safetensors of each further word. Names that
// begin with a dot are jobs that were never accepted, or were deleted: they are removed at the next
// start, as are files that a killed process was writing. A graph's training may have been kept as
// run.json and preview.jpg, before all jobs were kept alike.
class JobFolders {
  public:
    // Whether a second process may keep jobs of graphs in the same folder.
    enum class Sharing { alone, shared };

    // Makes the folder if it is missing, and holds it. Throws Error when another process does and
    // it is not shared, or it cannot be written.
    explicit JobFolders(std::filesystem::path root, Sharing sharing = Sharing::alone);

    // Whether this process holds the folder; of several that share it one does.
    bool holds() const { return lock_ != nullptr; }
    // Why not.
    const std::string& held_by() const { return held_by_; }

    // Every job that was accepted, oldest first. One whose record is damaged is left where it is
    // and passed over with a warning.
    std::vector<Job> load() const;
    // One of them as the disk has it now; nothing where there is none, or it is damaged.
    std::optional<Job> find(const std::string& id) const;
    // Whether a process trains there.
    bool is_in_use(const std::string& id) const;
    // Bytes of all its files.
    std::uint64_t size(const std::string& id) const;
    void make(const std::string& id) const;

    // A folder that is not there yet: nobody sees it before `accept`.
    std::filesystem::path stage(const std::string& id, std::span<const NewPicture> pictures) const;
    // Makes a staged job one that is there; it survives a power cut from then on. Throws
    // StorageError, and nothing is left of it then.
    void accept(const Job& job) const;
    void drop_staged(const std::string& id) const noexcept;

    // Throws StorageError; the record before it is then as it was.
    void save(const Job& job) const;
    void remove(const std::string& id) const;
    // Removes what was learned: token, best token, states, previews, curves.
    void discard_learned(const std::string& id) const noexcept;

    const std::filesystem::path& root() const { return root_; }
    std::filesystem::path folder(const std::string& id) const { return root_ / id; }
    // The pictures of one job as another's own. Throws StorageError.
    static void copy_pictures(const std::filesystem::path& from, const std::filesystem::path& to);
    static std::filesystem::path token_in(const std::filesystem::path& folder);
    // Of a further word of the job.
    static std::filesystem::path token_in(const std::filesystem::path& folder,
                                          const std::string& word);
    static std::filesystem::path previews_in(const std::filesystem::path& folder);
    static std::filesystem::path pictures_in(const std::filesystem::path& folder);
    // previews/000500.png, so that names sort as steps do. extension: with its dot.
    static std::filesystem::path preview_in(const std::filesystem::path& folder, std::int64_t step,
                                            const char* extension);
    static std::filesystem::path events_in(const std::filesystem::path& folder);

    // Bytes that all jobs may take together; nothing where none was set, or one out of range.
    std::optional<std::uint64_t> size_limit() const;
    // Throws StorageError.
    void set_size_limit(std::uint64_t bytes) const;

  private:
    void sweep() const;

    std::filesystem::path root_;
    std::unique_ptr<FileLock> lock_;
    std::string held_by_;
};

}  // namespace zoodip
