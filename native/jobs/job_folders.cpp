#include "jobs/job_folders.h"

#include <algorithm>
#include <chrono>
#include <system_error>
#include <utility>

#include "core/error.h"
#include "core/json.h"
#include "core/log.h"
#include "io/atomic_file.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;

const std::string further_word = "word.";  // begins the names of its files

constexpr std::uint64_t max_record = 4u << 20;  // bytes

fs::path staged(const fs::path& root, const std::string& id) {
    return root / (".new-" + id);
}

bool is_id(const std::string& name) {
    return (name.size() == 16 || name.size() == 64) &&
           name.find_first_not_of("0123456789abcdef") == std::string::npos;
}

bool is_leftover(const std::string& name) {
    return name.starts_with(".new-") || name.starts_with(".gone-") || name.starts_with(".dropped-");
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

nlohmann::json read_object(const fs::path& file) {
    const auto bytes = read_file(file, max_record);
    auto value = parse_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    require(value.is_object(), file.string(), ": needs a JSON object");
    return value;
}

Milliseconds changed(const fs::path& file) {
    const auto ago = fs::file_time_type::clock::now() - fs::last_write_time(file);
    const auto then = std::chrono::system_clock::now().time_since_epoch() - ago;
    return std::chrono::duration_cast<std::chrono::milliseconds>(then).count();
}

Job read_record(const fs::path& folder) {
    std::error_code ignored;
    const fs::path earlier = folder / "run.json";
    if (!fs::exists(folder / "job.json", ignored) && fs::exists(earlier, ignored)) {
        Job job = job_of_graph_record(read_object(earlier), changed(earlier));
        if (!fs::is_regular_file(folder / "preview.jpg", ignored)) job.progress.preview_step = {};
        const fs::path token = JobFolders::token_in(folder);
        const bool keeps_token = has_ended(job.state) && job.state != JobState::interrupted;
        if (keeps_token && fs::is_regular_file(token, ignored)) {
            job.token = token.filename().string();
        }
        return job;
    }
    return job_of_record(read_object(folder / "job.json"));
}

// 7 -> "007"
std::string padded(std::uint64_t number, std::size_t width) {
    const std::string digits = std::to_string(number);
    return std::string(width - std::min(width, digits.size()), '0') + digits;
}

// No process writes so long.
bool is_old(const fs::path& path) {
    std::error_code error;
    const auto time = fs::last_write_time(path, error);
    return !error && fs::file_time_type::clock::now() - time > std::chrono::hours(1);
}

void remove_quietly(const fs::path& path) noexcept {
    std::error_code ignored;
    fs::remove_all(path, ignored);
}

}  // namespace

JobFolders::JobFolders(fs::path root, Sharing sharing) : root_(made(root)) {
    try {
        const FileLock::Words words = {
            .taken = "another process holds the jobs in " + root_.string(),
            .remedy = "stop it, or name another folder",
            .holder = sharing == Sharing::shared ? "ComfyUI" : "zoodip serve"};
        lock_ = std::make_unique<FileLock>(root_ / ".lock", words);
    } catch (const Error& error) {
        if (sharing == Sharing::alone) throw;
        held_by_ = error.what();
        return;
    }
    sweep();
}

// What an earlier process left that was killed. One that shares the folder may be writing now.
void JobFolders::sweep() const {
    std::vector<fs::path> leftovers;
    const auto add_unfinished = [&](const fs::path& folder) {
        std::error_code unreadable;
        for (const auto& entry : fs::directory_iterator(folder, unreadable)) {
            const fs::path extension = entry.path().extension();
            const bool unfinished = extension == ".tmp" || extension == ".partial";
            if (unfinished && is_old(entry.path())) leftovers.push_back(entry.path());
        }
    };
    add_unfinished(root_);
    for (const auto& entry : fs::directory_iterator(root_)) {
        const std::string name = entry.path().filename().string();
        if (is_leftover(name)) leftovers.push_back(entry.path());
        if (!is_id(name)) continue;
        add_unfinished(entry.path());
        std::error_code not_empty;  // no record was ever written there, otherwise
        if (is_old(entry.path()) && entry.is_directory(not_empty)) {
            fs::remove(entry.path(), not_empty);
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

std::optional<Job> JobFolders::find(const std::string& id) const {
    std::error_code ignored;
    if (!is_id(id) || !fs::is_directory(root_ / id, ignored)) return std::nullopt;
    try {
        Job job = read_record(root_ / id);
        if (job.id == id) return job;
    } catch (const Error&) {
        // As if it were not there.
    }
    return std::nullopt;
}

bool JobFolders::is_in_use(const std::string& id) const {
    const fs::path folder = root_ / id;
    std::error_code ignored;
    if (!fs::is_directory(folder, ignored)) return false;
    fs::path file = token_in(folder);
    try {
        const FileLock lock(file += ".lock", {"", "", "zoodip"});  // as the engine names it
        return false;
    } catch (const Error&) {
        return fs::exists(file, ignored);  // or a full disk has no room for a lock
    }
}

std::uint64_t JobFolders::size(const std::string& id) const {
    std::uint64_t total = 0;
    std::error_code vanished;
    const auto options = fs::directory_options::skip_permission_denied;
    for (auto at = fs::recursive_directory_iterator(root_ / id, options, vanished);
         !vanished && at != fs::recursive_directory_iterator(); at.increment(vanished)) {
        std::error_code none;
        const std::uintmax_t size = at->is_regular_file(none) ? at->file_size(none) : 0;
        if (!none) total += size;
    }
    return total;
}

void JobFolders::make(const std::string& id) const {
    std::error_code error;
    fs::create_directories(root_ / id, error);
    if (error) {
        throw StorageError(concat("cannot make ", (root_ / id).string(), ": ", error.message()));
    }
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
    if (job.origin == "graph") make(job.id);  // it may have been deleted, by mistake or for space
    write_record(root_ / job.id, job);
    std::error_code ignored;
    fs::remove(root_ / job.id / "run.json", ignored);
}

void JobFolders::remove(const std::string& id) const {
    const fs::path gone = root_ / (".gone-" + id);
    remove_quietly(gone);  // of a job of this id before, where something was in the way
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
    std::vector<fs::path> learned = {previews_in(folder), folder / "preview.jpg",
                                     folder / "curve.bin", folder / "validations.bin"};
    for (const auto& entry : fs::directory_iterator(folder, unreadable)) {
        const std::string name = entry.path().filename().string();
        if (name.starts_with(stem) || name.starts_with(further_word)) {
            learned.push_back(entry.path());
        }
    }
    for (const fs::path& path : learned) remove_quietly(path);
}

fs::path JobFolders::token_in(const fs::path& folder) {
    return folder / "token.safetensors";
}

fs::path JobFolders::token_in(const fs::path& folder, const std::string& word) {
    return folder / (further_word + word + ".safetensors");
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

std::optional<std::uint64_t> JobFolders::size_limit() const {
    std::error_code ignored;
    if (!fs::exists(root_ / "store.json", ignored)) return std::nullopt;
    try {
        const auto limit = read_object(root_ / "store.json").value("limit_mb", nlohmann::json());
        if (limit.is_number_unsigned() && limit >= min_kept_mb && limit <= max_kept_mb) {
            return limit.get<std::uint64_t>() << 20;
        }
    } catch (const Error&) {
        // A damaged one sets nothing.
    }
    return std::nullopt;
}

void JobFolders::set_size_limit(std::uint64_t bytes) const {
    write(root_ / "store.json", nlohmann::json({{"limit_mb", bytes >> 20}}).dump() + "\n");
}

}  // namespace zoodip
