// One process at a time.
#pragma once

#include <filesystem>
#include <string>

namespace zoodip {

// Holds a file while it lives; the system lets go when the process dies, however it does.
class FolderLock {
  public:
    // Throws Error, which says that another process holds `what`.
    FolderLock(const std::filesystem::path& file, const std::string& what);
    ~FolderLock();
    FolderLock(const FolderLock&) = delete;
    FolderLock& operator=(const FolderLock&) = delete;

  private:
#ifdef _WIN32
    void* handle_;
#else
    int handle_;
#endif
};

}  // namespace zoodip
