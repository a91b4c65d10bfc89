#include "io/folder_lock.h"

#include <cerrno>
#include <cstring>

#include "core/error.h"

#ifdef _WIN32
#define NOMINMAX
#include <windows.h>
#else
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>
#endif

namespace zoodip {

#ifdef _WIN32

// Opened without sharing: that is the lock.
FolderLock::FolderLock(const std::filesystem::path& file, const std::string& what)
    : handle_(CreateFileW(file.c_str(), GENERIC_WRITE, 0, nullptr, OPEN_ALWAYS,
                          FILE_ATTRIBUTE_NORMAL, nullptr)) {
    require(handle_ != INVALID_HANDLE_VALUE, "another process holds ", what, ", or ", file.string(),
            " cannot be written");
}

FolderLock::~FolderLock() {
    CloseHandle(handle_);
}

#else

FolderLock::FolderLock(const std::filesystem::path& file, const std::string& what)
    : handle_(open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
    require(handle_ >= 0, "cannot write ", file.string(), ": ", std::strerror(errno));
    if (flock(handle_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return;
    close(handle_);
    fail("another process holds ", what, ": stop it, or name another folder");
}

FolderLock::~FolderLock() {
    close(handle_);
}

#endif

}  // namespace zoodip
