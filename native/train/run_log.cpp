#include "train/run_log.h"

#include <cerrno>
#include <cstring>

#include "core/error.h"
#include "core/log.h"

namespace zoodip {

RunLog::RunLog(const std::filesystem::path& file, bool append) : file_(file) {
    out_.open(file, append ? std::ios::app : std::ios::trunc);
    require(out_.is_open(), "log: cannot write ", file.string(), ": ", std::strerror(errno));
}

void RunLog::write(const nlohmann::json& event) {
    if (!on()) return;
    out_ << event.dump() << '\n' << std::flush;
    if (out_) return;
    log_warning("the log ", file_.string(), " cannot be written any more (is the disk full?); the ",
                "training goes on without it");
    out_.close();
}

}  // namespace zoodip
