// A run's events as JSON lines, for scripts and plots.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>

#include <nlohmann/json.hpp>

namespace zoodip {

// JSON in one line, with U+FFFD for bytes that are no UTF-8: a file may have any name, JSON may
// not.
std::string as_line(const nlohmann::json& value);

// One object a line: {"event": "step", "step": 7, "loss": ...}; README lists the events. Every line
// is flushed, so that a killed process leaves whole lines but for the last.
class RunLog {
  public:
    RunLog() = default;  // writes nothing
    // Goes on at the end of the file, without a last line that was cut off, or starts it anew.
    // Throws Error when it cannot be opened.
    RunLog(const std::filesystem::path& file, bool append);

    bool on() const { return out_.is_open(); }
    // A full disk ends the log with a warning, not the run.
    void write(const nlohmann::json& event);

  private:
    std::filesystem::path file_;
    std::ofstream out_;
};

}  // namespace zoodip
