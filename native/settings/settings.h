// The settings of a run, declared once.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "core/settings.h"
#include "nn/family.h"
#include "settings/choices.h"

namespace zoodip {

// Where nothing is a value (std::nullopt) it stands for "auto".
struct TrainSettings {
    Preset preset;
    std::int64_t steps = 0;
    std::optional<Method> method = usual_estimate();
    Slope slope = Slope::loss;
    std::int64_t n = 2;
    double mu = 0;
    MuScale mu_scale = MuScale::same;
    Directions directions = Directions::normal;
    std::int64_t direction_rank = 32;
    std::string related_words;
    std::int64_t batch = 1;
    std::int64_t chunk = 0;
    double learning_rate = 0;
    double adam_eps = 0;
    LearningRateSchedule learning_rate_schedule = LearningRateSchedule::constant;
    std::int64_t average_steps = 0;
    bool subspace = true;
    std::int64_t tau = 0;
    double nu = 1e-3;
    Timesteps timesteps = Timesteps::puts;
    std::int64_t t_lower = 500;
    std::int64_t t_upper = 900;

    std::int64_t vectors = 0;
    std::int64_t resolution = 0;
    double flip = 0.5;
    PictureSizes picture_sizes = PictureSizes::training;
    std::string caption;
    std::string templates = "object";
    std::int64_t seed = 0;

    std::int64_t clip_skip = 1;
    std::optional<Prediction> prediction;
    std::optional<bool> zero_snr;
    std::optional<BetaKind> beta_schedule;
    double beta_start = 0;
    double beta_end = 0;
    WeightType weights = WeightType::int8;
    std::optional<ComputeType> compute;
    std::string device = "cpu";
    std::int64_t threads = 0;
    std::int64_t memory_limit = 0;

    std::int64_t validate_every = 100;
    std::int64_t validation_samples = 8;
    std::int64_t early_stop = 0;
    double divergence = 3;
    std::int64_t checkpoint_every = 500;
    std::int64_t checkpoints_kept = 3;
    std::int64_t preview_every = 0;
    Take take = Take::last;
};

const std::vector<Setting<TrainSettings>>& train_setting_fields();

bool runs_on_cpu(const TrainSettings& settings);

// What was asked of a run: the defaults with what was chosen on top, and which that is.
struct AskedSettings {
    TrainSettings values;
    std::set<std::string> chosen;

    // Throws Error for an unknown name or a value out of range.
    void choose(const std::string& name, const nlohmann::json& value);
};
AskedSettings read_settings(const nlohmann::json& chosen);

// The defaults for a model with what was chosen on top. A preset goes between the two. 0 stands for
// what depends on other things; by the exact gradient, by estimates for few passes, and by the
// paper's method, to which other estimates keep:
//   steps          500; 500; 30000 (of the paper with the exact gradient 1000)
//   learning_rate  stays 0, for a share of what the model's words are made of (automatic_rate), for
//                  the first two; 5e-3 (1e-2)
//   adam_eps       1e-8; 1e-8; 1e-3
//   mu             1e-3, or 1e-2 with compute bf16, whose rounding drowns smaller differences, and
//                  with weights int4
//   tau            128, or round(text_width / 6) for a width under 768: the paper's proportion
//   resolution     what the model was made for
//   prediction, zero_snr, beta_*  what the model was trained on
// Method and compute that are open are taken as rge and fp32: decide (train/decide.h) goes before.
// Throws Error for two values that contradict each other.
TrainSettings fill_in(const AskedSettings& asked, const Architecture& architecture = {});

// The same of settings by name.
TrainSettings resolve_settings(const nlohmann::json& chosen, const Architecture& architecture = {});

// The settings that decide which numbers come out; device, threads and how often to save do not
// name a different run.
nlohmann::json result_settings(const TrainSettings& settings);

// Passes of the UNet that one step makes.
struct StepPasses {
    std::int64_t forward = 0, backward = 0;
};
StepPasses passes_of(const TrainSettings& settings);

// Points that a step looks at on each of its samples: at most so many rows pass through the UNet at
// once.
std::int64_t points_of(const TrainSettings& settings);

}  // namespace zoodip
