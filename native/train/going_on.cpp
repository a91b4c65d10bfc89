#include "train/going_on.h"

#include <cstdint>
#include <span>

#include <ATen/ops/zeros_like.h>

#include "core/error.h"
#include "core/json.h"
#include "core/sha256.h"

namespace zoodip {
namespace {

using nlohmann::json;

std::string beneath(const std::string& path, const std::string& key) {
    return path.empty() ? key : path + "." + key;
}

// The first leaf in which two values differ, as "path was X, now Y".
std::string first_difference(const json& saved, const json& asked, const std::string& path) {
    if (saved == asked) return {};
    if (saved.is_object() && asked.is_object()) {
        json all = saved;
        all.update(asked);
        for (const auto& [key, value] : all.items()) {
            const auto inner = first_difference(saved.value(key, json()), asked.value(key, json()),
                                                beneath(path, key));
            if (!inner.empty()) return inner;
        }
    }
    if (saved.is_array() && asked.is_array()) {
        if (saved.size() != asked.size()) {
            return concat(path, " were ", saved.size(), ", now ", asked.size());
        }
        for (std::size_t i = 0; i < saved.size(); ++i) {
            const auto inner = first_difference(saved[i], asked[i], concat(path, "[", i, "]"));
            if (!inner.empty()) return inner;
        }
    }
    return concat(path, " was ", saved.dump(), ", now ", asked.dump());
}

// What decides the words of all steps. What else lies in the pictures' folder, and
// why products of a type were taken, is no part of it.
json without_its_end(json identity) {
    if (!identity.is_object()) return identity;
    identity.erase("folder");
    identity.erase("compute_choice");
    const auto settings = identity.find("settings");
    if (settings != identity.end() && settings->is_object()) {
        settings->erase("steps");
        settings->erase("take");
        add_younger_settings(*settings);
    }
    return identity;
}

// 0 where it does not say.
std::int64_t steps_of(const SavedRun& saved) {
    const json settings = saved.identity.value("settings", json());
    const json steps = settings.is_object() ? settings.value("steps", json()) : json();
    return steps.is_number_integer() ? steps.get<std::int64_t>() : 0;
}

}  // namespace

void add_younger_settings(json& settings) {
    if (!settings.contains("adam_eps")) settings["adam_eps"] = 1e-3;
}

void require_same_run(const json& saved, const json& asked, const std::filesystem::path& file) {
    const std::string difference =
        first_difference(without_its_end(saved), without_its_end(asked), "");
    require(difference.empty(), file.string(), " holds another run: ", difference,
            ". Give what it was started with, or start anew with `overwrite`");
}

void require_reachable(const SavedRun& saved, const TrainSettings& asked,
                       const std::filesystem::path& file) {
    const std::int64_t begun = steps_of(saved), at = saved.state.step;
    if (begun == asked.steps) return;
    require(at <= asked.steps, "steps: the run in ", file.string(), " is at step ", at,
            " already; ask for at least as many, got ", asked.steps);
    const bool by_what_is_done = asked.learning_rate_schedule == LearningRateSchedule::constant ||
                                 asked.learning_rate_schedule == LearningRateSchedule::inverse;
    require(by_what_is_done, "steps: the learning rate of the run in ", file.string(),
            " falls over all of its ", begun, " steps (learning_rate_schedule ",
            name_of(learning_rate_schedule_names(), asked.learning_rate_schedule),
            "), so that one of ", asked.steps,
            " steps is another run from its first step on. Start it anew, with `overwrite` or "
            "another `out`");
    const std::int64_t mean_begins = asked.steps - asked.average_steps;
    require(asked.average_steps == 0 || at <= mean_begins, "steps: the word is the mean over the ",
            "last ", asked.average_steps, " steps (average_steps), those of ", asked.steps,
            " begin behind step ", mean_begins, ", and the run in ", file.string(), " is at step ",
            at, ". Ask for at least ", at + asked.average_steps, " steps");
}

std::string lineage_id(const json& identity) {
    Sha256 hash;
    hash.update(show_json(without_its_end(identity)));
    return hash.hex();
}

std::string run_id(const json& identity) {
    json run = identity;
    const auto settings = run.find("settings");
    if (settings != run.end() && settings->is_object()) settings->erase("average_steps");
    return lineage_id(run);
}

RunState state_for(const SavedRun& saved, const TrainSettings& asked) {
    RunState state = saved.state;
    if (steps_of(saved) != asked.steps) state.average = at::zeros_like(state.average);
    return state;
}

}  // namespace zoodip
