// Command-line options made from the settings declaration.
#pragma once

#include <map>
#include <string>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

namespace zoodip {

class SettingOptions {
  public:
    // One --option for each setting of a run.
    void add_to(CLI::App& command);

    // What was typed, as JSON for resolve_settings. Throws Error for text of the wrong type.
    nlohmann::json chosen(const CLI::App& command) const;

  private:
    // As typed: read against the declaration afterwards, so that one place checks ranges.
    std::map<std::string, std::string> typed_;
};

}  // namespace zoodip
