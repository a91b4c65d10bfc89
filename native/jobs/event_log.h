// What happens to a job, numbered: kept on the disk, waited for by any number of readers.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <mutex>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace zoodip {

struct JobEvent {
    std::uint64_t id = 0;  // 1, 2, 3, ...
    std::string kind;      // state, stage, note, step, preview
    std::string data;      // JSON in one line
};

// Safe from any thread. One line of the file is one event; it is flushed to the disk before a
// reader sees it, so that no number is given out twice.
class EventLog {
  public:
    // Reads what is there; a last line that was cut off is dropped. Without a file the last events
    // alone are kept, in memory.
    explicit EventLog(std::filesystem::path file);

    // On a full disk the event is dropped with a warning: the job's record says all that matters.
    void append(const std::string& kind, const nlohmann::json& data);
    // No event will follow.
    void close();

    // At most `most` events behind number `after`, in order.
    std::vector<JobEvent> read(std::uint64_t after, std::size_t most) const;
    // Waits until there is an event behind `after`, or none will follow; false when the time was
    // up.
    bool wait(std::uint64_t after, std::chrono::milliseconds time) const;
    bool closed() const;
    std::uint64_t last() const;

  private:
    std::vector<JobEvent> read_file(std::uint64_t after, std::size_t most) const;

    const std::filesystem::path file_;
    mutable std::mutex mutex_;
    mutable std::condition_variable grown_;
    std::deque<JobEvent> recent_;  // the last ones
    std::uint64_t last_ = 0;
    std::uint64_t bytes_ = 0;  // of whole lines
    bool closed_ = false;
    std::mutex writing_;
};

}  // namespace zoodip
