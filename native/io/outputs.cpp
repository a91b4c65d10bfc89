#include "io/outputs.h"

#include <system_error>
#include <utility>

#include "core/error.h"
#include "io/atomic_file.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;

// Whether both are there and are one file: by device and number, so that links, capitals and
// spellings do not matter.
bool same(const fs::path& one, const fs::path& other) {
    std::error_code missing;
    return fs::equivalent(one, other, missing);
}

fs::path folder_of(const fs::path& file) {
    const fs::path folder = file.parent_path();
    return folder.empty() ? fs::path(".") : folder;
}

// `file` as a path below `folder`; empty when it does not lie there.
fs::path below(const fs::path& folder, const fs::path& file) {
    std::error_code error;
    fs::path relative = file.filename(), at = fs::canonical(folder_of(file), error);
    while (!error && !same(at, folder)) {
        if (!at.has_relative_path()) return {};
        relative = at.filename() / relative;
        at = at.parent_path();
    }
    return error ? fs::path() : relative;
}

// Whether `file` is there and is a file of that folder under another name.
bool is_linked(const Input& input, const fs::path& file) {
    std::error_code error;
    if (!fs::exists(file, error)) return false;
    fs::recursive_directory_iterator entry(input.path, error), end;
    for (; !error && entry != end; entry.increment(error)) {
        if (entry.depth() > 0) entry.disable_recursion_pending();
        const bool counts = !input.counts || input.counts(entry->path());
        if (counts && same(entry->path(), file)) return true;
    }
    return false;
}

bool is_input(const Input& input, const fs::path& file) {
    std::error_code error;
    if (!fs::is_directory(input.path, error)) return same(input.path, file);
    const fs::path inside = below(input.path, file);
    if (!inside.empty() && (!input.counts || input.counts(input.path / inside))) return true;
    return is_linked(input, file);
}

void require_folder_of(const std::string& option, const fs::path& file) {
    const fs::path folder = folder_of(file);
    std::error_code ignored;
    require(fs::exists(folder, ignored), option, ": cannot write ", file.string(), ": the folder ",
            folder.string(), " does not exist. Create it, or name another");
    require(fs::is_directory(folder, ignored), option, ": cannot write ", file.string(), ": ",
            folder.string(), " is not a folder");
    require(!fs::is_directory(file, ignored), option, ": cannot write ", file.string(),
            ": it is a folder");
}

}  // namespace

Outputs::Outputs(std::string command, std::vector<Input> inputs)
    : command_(std::move(command)), inputs_(std::move(inputs)) {}

Outputs::~Outputs() {
    held_.clear();
    std::error_code not_empty;
    for (; !made_.empty(); made_.pop_back()) fs::remove(made_.back(), not_empty);
}

void Outputs::check(const std::string& option, const fs::path& file) const {
    for (const Input& input : inputs_) {
        require(!is_input(input, file), option, ": ", file.string(), " is ",
                fs::is_directory(input.path) ? "part of " : "", input.what,
                fs::is_directory(input.path) ? "" : " itself", ": name another `", option, "`");
    }
    require_folder_of(option, file);
}

void Outputs::hold(const std::string& option, const fs::path& file, const fs::path& together) {
    check(option, file);
    fs::path beside = together;
    lock(option, file, beside += ".lock");
}

void Outputs::hold_folder(const std::string& option, const fs::path& folder) {
    std::vector<fs::path> missing;  // innermost first
    std::error_code error;
    fs::path at = fs::absolute(folder).lexically_normal();
    if (!at.has_filename()) at = at.parent_path();
    for (; !fs::exists(at, error) && at.has_relative_path(); at = at.parent_path()) {
        missing.push_back(at);
    }
    for (; !missing.empty(); missing.pop_back()) {
        if (fs::create_directory(missing.back(), error)) made_.push_back(missing.back());
        require(!error, option, ": cannot make the folder ", missing.back().string(), ": ",
                error.message());
    }
    require(fs::is_directory(folder, error), option, ": ", folder.string(), " is not a folder");
    lock(option, folder, folder / "zoodip.lock");
}

void Outputs::lock(const std::string& option, const fs::path& named, const fs::path& file) {
    for (const Held& held : held_) {
        require(!same(held.lock->file(), file), option, ": ", named.string(), " is what `",
                held.option, "` writes: name another `", option, "`");
    }
    held_.push_back(
        {option,
         std::make_unique<FileLock>(
             file, FileLock::Words{
                       .taken = concat(option, ": another run writes ", named.string()),
                       .remedy = concat("wait for it or stop it, or name another `", option, "`"),
                       .holder = command_})});
}

void require_free(const std::string& option, const fs::path& file, bool overwrite) {
    std::error_code ignored;
    require(overwrite || !fs::exists(fs::symlink_status(file, ignored)), option, ": ",
            file.string(), " exists: name another `", option, "`, or add `overwrite`");
}

std::unique_ptr<Outputs> hold_output(std::string command, std::vector<Input> inputs,
                                     const fs::path& out, bool overwrite,
                                     const fs::path& together) {
    auto outputs = std::make_unique<Outputs>(std::move(command), std::move(inputs));
    outputs->hold("out", out, together);
    require_free("out", out, overwrite);
    probe_writable(out);
    return outputs;
}

fs::path behind_links(fs::path file) {
    std::error_code error;
    for (int links = 0; links < 40 && fs::is_symlink(fs::symlink_status(file, error)); ++links) {
        const fs::path target = fs::read_symlink(file, error);
        if (error) break;
        file = target.is_absolute() ? target : folder_of(file) / target;
    }
    return file;
}

}  // namespace zoodip
