// One at a time, among processes and within one.
#pragma once

#include <filesystem>
#include <string>

namespace zoodip {

// Holds a file while it lives, and removes it at its end. When the process dies, however it does,
// the system lets go: the file that is left behind is free. On a file system without locks it is
// held by whoever asks.
class FileLock {
  public:
    struct Words {
        std::string taken;   // "another process holds the job folder"
        std::string remedy;  // "stop it, or name another folder"
        std::string holder;  // "zoodip serve": told to whoever comes meanwhile
    };

    // Throws Error when another holds it: "TAKEN (process 42, HOLDER, since ...): REMEDY"; and when
    // the file cannot be made, or is there and is something else than a lock.
    FileLock(std::filesystem::path file, const Words& words);
    ~FileLock();
    FileLock(const FileLock&) = delete;
    FileLock& operator=(const FileLock&) = delete;

    const std::filesystem::path& file() const { return file_; }

  private:
    std::filesystem::path file_;
#ifdef _WIN32
    void* handle_;
#else
    int handle_;
    int process_;  // a forked child has a copy of this, but not the lock
#endif
};

}  // namespace zoodip
