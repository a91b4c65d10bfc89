// What a command is about to write: looked at before it begins, held while it goes on.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "io/file_lock.h"

namespace zoodip {

// A file that a command reads, or a folder with the files in it, two levels deep, that it reads.
struct Input {
    std::filesystem::path path;
    std::string what;  // "the model"
    // Of the paths in a folder, those that count: they need not be there. Empty: all.
    std::function<bool(const std::filesystem::path&)> counts = {};
};

// The outputs of one command. No output is one of its inputs, whatever both are called and whether
// or not it may be replaced; no two of them are one file; and no other command writes one of them
// as long as this lives. Locks lie beside the files, and are gone with this.
class Outputs {
  public:
    // command: "zoodip train", told to whoever wants one of the outputs meanwhile.
    Outputs(std::string command, std::vector<Input> inputs);
    ~Outputs();
    Outputs(const Outputs&) = delete;
    Outputs& operator=(const Outputs&) = delete;

    // Throws Error unless `file`, which the option of that name asks for, may be written: its
    // folder is there, and it is no input. Nothing is said of what is there already.
    void check(const std::string& option, const std::filesystem::path& file) const;
    // The same, and takes its lock, which it may share with others: that of `together`. Throws
    // Error when another command, or another option of this one, has it.
    void hold(const std::string& option, const std::filesystem::path& file,
              const std::filesystem::path& together);
    // Makes a folder, which goes again with this if nothing was written there, and takes its lock.
    void hold_folder(const std::string& option, const std::filesystem::path& folder);

  private:
    void lock(const std::string& option, const std::filesystem::path& named,
              const std::filesystem::path& file);

    struct Held {
        std::string option;
        std::unique_ptr<FileLock> lock;
    };
    std::string command_;
    std::vector<Input> inputs_;
    std::vector<std::filesystem::path> made_;  // folders, outermost first
    std::vector<Held> held_;
};

// Throws Error when there is such a file and it may not be replaced.
void require_free(const std::string& option, const std::filesystem::path& file, bool overwrite);

// --out of a command that writes one file, at its end: checked, held with `together`, writable.
std::unique_ptr<Outputs> hold_output(std::string command, std::vector<Input> inputs,
                                     const std::filesystem::path& out, bool overwrite,
                                     const std::filesystem::path& together);

// What a name stands for behind its links, which need not lead to a file.
std::filesystem::path behind_links(std::filesystem::path file);

}  // namespace zoodip
