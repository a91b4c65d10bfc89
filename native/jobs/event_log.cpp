#include "jobs/event_log.h"

#include <algorithm>
#include <fstream>
#include <system_error>
#include <utility>

#include "core/error.h"
#include "core/json.h"
#include "core/log.h"
#include "io/atomic_file.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::size_t kept_in_memory = 64;

std::string line_of(const JobEvent& event) {
    return concat(R"({"id":)", event.id, R"(,"event":")", event.kind, R"(","data":)", event.data,
                  "}\n");
}

// Nothing for a line that is not ours.
bool parse_line(const std::string& line, JobEvent& event) {
    const json value = parse_json(line);
    if (!value.is_object() || !value.contains("data") || !value.contains("id")) return false;
    const json kind = value.value("event", json());
    if (!value["id"].is_number_unsigned() || !kind.is_string()) return false;
    event = {value["id"].get<std::uint64_t>(), kind.get<std::string>(), show_json(value["data"])};
    return true;
}

}  // namespace

EventLog::EventLog(fs::path file) : file_(std::move(file)) {
    std::ifstream in(file_, std::ios::binary);
    JobEvent event;
    for (std::string line; std::getline(in, line) && !in.eof();) {
        if (!parse_line(line, event) || event.id != last_ + 1) break;
        last_ = event.id;
        bytes_ += line.size() + 1;
        recent_.push_back(std::move(event));
        if (recent_.size() > kept_in_memory) recent_.pop_front();
    }
}

void EventLog::append(const std::string& kind, const json& data) {
    const std::lock_guard one_at_a_time(writing_);
    JobEvent event{last() + 1, kind, show_json(data)};
    const std::string line = line_of(event);
    try {
        if (!file_.empty()) write_at(file_, bytes_, std::as_bytes(std::span(line)));
    } catch (const Error& error) {
        log_warning(error.what(), "; the job goes on without this event");
        return;
    }
    const std::lock_guard lock(mutex_);
    bytes_ += line.size();
    last_ = event.id;
    recent_.push_back(std::move(event));
    if (recent_.size() > kept_in_memory) recent_.pop_front();
    grown_.notify_all();
}

void EventLog::close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    grown_.notify_all();
}

std::vector<JobEvent> EventLog::read(std::uint64_t after, std::size_t most) const {
    std::unique_lock lock(mutex_);
    if (after >= last_) return {};
    if (!file_.empty() && after + 1 < recent_.front().id) {
        // The file may hold one more, which is not flushed yet.
        most = std::min<std::size_t>(most, last_ - after);
        lock.unlock();
        return read_file(after, most);
    }
    std::vector<JobEvent> events;
    for (const JobEvent& event : recent_) {
        if (event.id > after && events.size() < most) events.push_back(event);
    }
    return events;
}

std::vector<JobEvent> EventLog::read_file(std::uint64_t after, std::size_t most) const {
    std::ifstream in(file_, std::ios::binary);
    std::vector<JobEvent> events;
    std::uint64_t id = 0;
    JobEvent event;
    for (std::string line; events.size() < most && std::getline(in, line) && !in.eof();) {
        if (++id <= after) continue;
        if (!parse_line(line, event)) break;
        events.push_back(event);
    }
    return events;
}

bool EventLog::wait(std::uint64_t after, std::chrono::milliseconds time) const {
    std::unique_lock lock(mutex_);
    return grown_.wait_for(lock, time, [&] { return last_ > after || closed_; });
}

bool EventLog::closed() const {
    const std::lock_guard lock(mutex_);
    return closed_;
}

std::uint64_t EventLog::last() const {
    const std::lock_guard lock(mutex_);
    return last_;
}

}  // namespace zoodip
