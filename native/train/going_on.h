// Going on with a run, also with more or fewer steps than it was begun with.
#pragma once

#include <filesystem>
#include <string>

#include <nlohmann/json.hpp>

#include "settings/settings.h"
#include "train/run_state.h"

namespace zoodip {

// Adds to a run's settings, as they were kept, what has become a setting since: what it was then.
void add_younger_settings(nlohmann::json& settings);

// Throws Error that names the first thing in which the saved run differs from the one asked for.
// How many steps it makes, and which of its words it takes in the end, may differ.
void require_same_run(const nlohmann::json& saved, const nlohmann::json& asked,
                      const std::filesystem::path& file);

// Throws Error, by name, where a run of the steps that are asked for would have been another one
// before the step that the saved one is at: it is at a later step already; its learning rate falls
// over all of its steps; its word is a mean over the last ones, and those have begun.
void require_reachable(const SavedRun& saved, const TrainSettings& asked,
                       const std::filesystem::path& file);

// 64 hexadecimal digits of what require_same_run compares: of all runs that go on into one another.
std::string lineage_id(const nlohmann::json& identity);

// 64 hexadecimal digits for the run of an identity, the same however far it is to go.
std::string run_id(const nlohmann::json& identity);

// The state as a run of the steps asked for would have had it at that step; require_reachable
// holds.
RunState state_for(const SavedRun& saved, const TrainSettings& asked);

}  // namespace zoodip
