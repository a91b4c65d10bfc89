#include "io/file_lock.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <string_view>
#include <system_error>
#include <utility>

#include "core/error.h"

#ifdef _WIN32
#define NOMINMAX
#include <windows.h>
#else
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

namespace zoodip {
namespace {

namespace fs = std::filesystem;

// How the text in a lock begins, by which it is told from a file that somebody wants to keep.
constexpr std::string_view mark = "zoodip lock: ";

std::string time_now() {
    const std::time_t now = std::time(nullptr);
    std::tm local{};
#ifdef _WIN32
    localtime_s(&local, &now);
#else
    localtime_r(&now, &local);
#endif
    std::array<char, 32> text{};
    std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S", &local);
    return text.data();
}

std::string lock_text(unsigned long process, const FileLock::Words& words) {
    return concat(mark, "process ", process, ", ", words.holder, ", since ", time_now(), "\n");
}

[[noreturn]] void fail_as_taken(const std::string& text, const FileLock::Words& words) {
    std::string holder;  // empty while the other is about to write it
    if (text.starts_with(mark)) holder = text.substr(mark.size(), text.find('\n') - mark.size());
    fail(words.taken, holder.empty() ? "" : " (" + holder + ")", ": ", words.remedy);
}

void require_lock(const std::string& text, const fs::path& file) {
    require(text.empty() || text.starts_with(mark), file.string(),
            " is in the way: a lock is to be there while this runs. Move it elsewhere");
}

#ifdef _WIN32

using Handle = void*;

std::string read_text(const fs::path& file) {
    constexpr DWORD all = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
    const Handle handle = CreateFileW(file.c_str(), GENERIC_READ, all, nullptr, OPEN_EXISTING,
                                      FILE_ATTRIBUTE_NORMAL, nullptr);
    if (handle == INVALID_HANDLE_VALUE) return {};
    std::array<char, 1024> text{};
    DWORD size = 0;
    ReadFile(handle, text.data(), static_cast<DWORD>(text.size()), &size, nullptr);
    CloseHandle(handle);
    return {text.data(), size};
}

// Opened without letting others write: that is the lock. The system removes the file.
Handle take(const fs::path& file, const FileLock::Words& words) {
    require_lock(read_text(file), file);
    const Handle handle =
        CreateFileW(file.c_str(), GENERIC_READ | GENERIC_WRITE | DELETE, FILE_SHARE_READ, nullptr,
                    OPEN_ALWAYS, FILE_ATTRIBUTE_NORMAL | FILE_FLAG_DELETE_ON_CLOSE, nullptr);
    if (handle != INVALID_HANDLE_VALUE) return handle;
    if (GetLastError() == ERROR_SHARING_VIOLATION) fail_as_taken(read_text(file), words);
    fail("cannot write ", file.string(), ": ",
         std::system_category().message(static_cast<int>(GetLastError())));
}

void write_text(Handle handle, const std::string& text) {
    DWORD written = 0;
    WriteFile(handle, text.data(), static_cast<DWORD>(text.size()), &written, nullptr);
}

unsigned long process() {
    return GetCurrentProcessId();
}

#else

using Handle = int;

std::string read_text(Handle handle) {
    std::array<char, 1024> text{};
    const ssize_t size = pread(handle, text.data(), text.size(), 0);
    return {text.data(), static_cast<std::size_t>(size > 0 ? size : 0)};
}

Handle open_lock(const fs::path& file) {
    constexpr int flags = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
    Handle handle = open(file.c_str(), O_RDWR | O_CREAT | flags, 0644);
    // One that another user's process left can be held without being written.
    if (handle < 0 && errno == EACCES) handle = open(file.c_str(), O_RDONLY | flags);
    require(handle >= 0, "cannot write ", file.string(), ": ", std::strerror(errno));
    return handle;
}

// Whether the open file still is the one of that name: who held it before may have removed it
// between the opening and the locking.
bool is_there(Handle handle, const fs::path& file) {
    struct stat ours {
    }, there{};
    return fstat(handle, &ours) == 0 && lstat(file.c_str(), &there) == 0 &&
           ours.st_dev == there.st_dev && ours.st_ino == there.st_ino;
}

Handle take(const fs::path& file, const FileLock::Words& words) {
    for (;;) {
        const Handle handle = open_lock(file);
        const bool taken = flock(handle, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
        const std::string text = read_text(handle);
        if (!taken && text.empty() && is_there(handle, file)) return handle;
        if (!taken && text.starts_with(mark) && is_there(handle, file)) return handle;
        close(handle);
        if (taken) fail_as_taken(text, words);
        require_lock(text, file);
    }
}

// The text is a help for others: a full disk does not matter.
void write_text(Handle handle, const std::string& text) {
    if (ftruncate(handle, 0) != 0) return;
    [[maybe_unused]] const ssize_t written = pwrite(handle, text.data(), text.size(), 0);
}

int process() {
    return getpid();
}

#endif

}  // namespace

#ifdef _WIN32

FileLock::FileLock(fs::path file, const Words& words)
    : file_(std::move(file)), handle_(take(file_, words)) {
    write_text(handle_, lock_text(process(), words));
}

FileLock::~FileLock() {
    CloseHandle(handle_);
}

#else

FileLock::FileLock(fs::path file, const Words& words)
    : file_(std::move(file)), handle_(take(file_, words)), process_(process()) {
    write_text(handle_, lock_text(static_cast<unsigned long>(process_), words));
}

// Removed while it is still held: who opened it meanwhile sees that it is gone, and tries again.
FileLock::~FileLock() {
    if (process_ == process() && is_there(handle_, file_)) unlink(file_.c_str());
    close(handle_);
}

#endif

}  // namespace zoodip
