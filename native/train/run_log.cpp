#include "train/run_log.h"

#include <cerrno>
#include <cstring>
#include <system_error>

#include "core/error.h"
#include "core/log.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;

// Cuts off what a killed process left of its last line.
void end_with_whole_line(const fs::path& file) {
    std::error_code none;  // no file yet
    const std::uintmax_t size = fs::file_size(file, none);
    if (none) return;
    std::ifstream in(file, std::ios::binary);
    std::uintmax_t end = size;
    for (; end > 0; --end) {
        in.seekg(static_cast<std::streamoff>(end - 1));
        if (in.get() == '\n' || !in) break;
    }
    if (in && end < size) fs::resize_file(file, end, none);
}

}  // namespace

std::string as_line(const nlohmann::json& value) {
    return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

RunLog::RunLog(const fs::path& file, bool append) : file_(file) {
    if (append) end_with_whole_line(file);
    out_.open(file, append ? std::ios::app : std::ios::trunc);
    require(out_.is_open(), "log: cannot write ", file.string(), ": ", std::strerror(errno));
}

void RunLog::write(const nlohmann::json& event) {
    if (!on()) return;
    out_ << as_line(event) << '\n' << std::flush;
    if (out_) return;
    log_warning("the log ", file_.string(), " cannot be written any more (is the disk full?); the ",
                "training goes on without it");
    out_.close();
}

}  // namespace zoodip
