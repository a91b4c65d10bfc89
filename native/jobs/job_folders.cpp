#include "jobs/job_folders.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include "core/error.h"
#include "core/json.h"
#include "core/log.h"
#include "io/atomic_file.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t max_record = 4u << 20;  // bytes

fs::path staged(const fs::path& root, const std::string& id) {
    return root / (".new-" + id);
}

bool is_id(const std::string& name) {
    return name.size() == 16 && name.find_first_not_of("0123456789abcdef") == std::string::npos;
}

fs::path made(const fs::path& root) {
    std::error_code error;
    fs::create_directories(root, error);
    require(fs::is_directory(root), "jobs: cannot make the folder ", root.string(), ": ",
            error.message());
    probe_writable(root / "job.json");
    return fs::canonical(root);
}

void make_folder(const fs::path& folder) {
    std::error_code error;
    fs::create_directory(folder, error);
    if (error) throw StorageError(concat("cannot make ", folder.string(), ": ", error.message()));
}

void write(const fs::path& file, std::string_view text) {
    const auto bytes = std::as_bytes(std::span(text));
    try {
        write_file_atomic(file, {&bytes, 1});
    } catch (const Error& error) {
        throw StorageError(error.what());
    }
}

void write_record(const fs::path& folder, const Job& job) {
    write(folder / "job.json", to_record(job).dump(2) + "\n");
}

Job read_record(const fs::path& folder) {
    const auto bytes = read_file(folder / "job.json", max_record);
    return job_of_record(parse_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}));
}

// 7 -> "007"
std::string padded(std::uint64_t number, std::size_t width) {
    const std::string digits = std::to_string(number);
    return std::string(width - std::min(width, digits.size()), '0') + digits;
}

void remove_quietly(const fs::path& path) noexcept {
    std::error_code ignored;
    fs::remove_all(path, ignored);
}

}  // namespace

JobFolders::JobFolders(fs::path root)
    : root_(made(root)),
      lock_(root_ / ".lock", {.taken = "another process holds the jobs in " + root_.string(),
                              .remedy = "stop it, or name another folder",
                              .holder = "zoodip serve"}) {
    std::vector<fs::path> leftovers;
    for (const auto& entry : fs::directory_iterator(root_)) {
        const std::string name = entry.path().filename().string();
        if (name.starts_with(".new-") || name.starts_with(".gone-")) {
            leftovers.push_back(entry.path());
        }
    }
    for (const fs::path& path : leftovers) remove_quietly(path);
}

std::vector<Job> JobFolders::load() const {
    std::vector<Job> jobs;
    for (const auto& entry : fs::directory_iterator(root_)) {
        const std::string name = entry.path().filename().string();
        if (!is_id(name)) continue;
        try {
            Job job = read_record(entry.path());
            require(job.id == name, "job: its record is that of ", job.id);
            jobs.push_back(std::move(job));
        } catch (const Error& error) {
            log_warning("jobs: ", entry.path().string(), " is passed over: ", error.what());
        }
    }
    std::sort(jobs.begin(), jobs.end(),
              [](const Job& a, const Job& b) { return a.sequence < b.sequence; });
    return jobs;
}

fs::path JobFolders::stage(const std::string& id, std::span<const NewPicture> pictures) const {
    const fs::path folder = staged(root_, id);
    try {
        make_folder(folder);
        if (!pictures.empty()) make_folder(pictures_in(folder));
        for (std::size_t i = 0; i < pictures.size(); ++i) {
            write(pictures_in(folder) / (padded(i + 1, 3) + pictures[i].extension),
                  pictures[i].bytes);
        }
    } catch (...) {
        drop_staged(id);
        throw;
    }
    return folder;
}

void JobFolders::accept(const Job& job) const {
    const fs::path folder = staged(root_, job.id);
    try {
        write_record(folder, job);
        std::error_code error;
        fs::rename(folder, root_ / job.id, error);
        if (error) {
            throw StorageError(concat("cannot rename ", folder.string(), ": ", error.message()));
        }
    } catch (...) {
        drop_staged(job.id);
        throw;
    }
    flush_folder(root_);
}

void JobFolders::drop_staged(const std::string& id) const noexcept {
    remove_quietly(staged(root_, id));
}

void JobFolders::save(const Job& job) const {
    write_record(root_ / job.id, job);
}

void JobFolders::remove(const std::string& id) const {
    const fs::path gone = root_ / (".gone-" + id);
    std::error_code error;
    fs::rename(root_ / id, gone, error);
    if (error) {
        throw StorageError(concat("cannot remove ", (root_ / id).string(), ": ", error.message()));
    }
    flush_folder(root_);
    remove_quietly(gone);
}

void JobFolders::discard_learned(const std::string& id) const noexcept {
    const fs::path folder = root_ / id;
    const std::string stem = token_in(folder).stem().string() + ".";
    std::error_code unreadable;
    std::vector<fs::path> learned = {previews_in(folder)};
    for (const auto& entry : fs::directory_iterator(folder, unreadable)) {
        if (entry.path().filename().string().starts_with(stem)) learned.push_back(entry.path());
    }
    for (const fs::path& path : learned) remove_quietly(path);
}

fs::path JobFolders::token_in(const fs::path& folder) {
    return folder / "token.safetensors";
}

fs::path JobFolders::previews_in(const fs::path& folder) {
    return folder / "previews";
}

fs::path JobFolders::preview_in(const fs::path& folder, std::int64_t step, const char* extension) {
    return previews_in(folder) / (padded(static_cast<std::uint64_t>(step), 6) + extension);
}

void JobFolders::copy_pictures(const fs::path& from, const fs::path& to) {
    std::error_code error;
    fs::copy(pictures_in(from), pictures_in(to), error);
    if (error) {
        throw StorageError(
            concat("cannot copy the pictures into ", to.string(), ": ", error.message()));
    }
}

fs::path JobFolders::pictures_in(const fs::path& folder) {
    return folder / "pictures";
}

fs::path JobFolders::events_in(const fs::path& folder) {
    return folder / "events.jsonl";
}

}  // namespace zoodip
