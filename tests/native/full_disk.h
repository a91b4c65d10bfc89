// A full disk, made with the process's file size limit: writes beyond it fail as on a full disk.
#pragma once

#include <csignal>
#include <sys/resource.h>

namespace zoodip {

class FullDisk {
  public:
    // No file may grow beyond `bytes` while it lives.
    explicit FullDisk(rlim_t bytes) {
        std::signal(SIGXFSZ, SIG_IGN);
        getrlimit(RLIMIT_FSIZE, &before_);
        const rlimit limit{bytes, before_.rlim_max};
        setrlimit(RLIMIT_FSIZE, &limit);
    }
    ~FullDisk() { setrlimit(RLIMIT_FSIZE, &before_); }
    FullDisk(const FullDisk&) = delete;
    FullDisk& operator=(const FullDisk&) = delete;

  private:
    rlimit before_{};
};

}  // namespace zoodip
