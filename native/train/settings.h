// The settings of a run, declared once.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "core/settings.h"
#include "nn/family.h"

namespace zoodip {

struct TrainSettings {
    std::int64_t steps = 30000;
    std::int64_t n = 2;
    double mu = 0;
    double learning_rate = 5e-3;
    bool subspace = true;
    std::int64_t tau = 0;
    double nu = 1e-3;
    std::int64_t t_lower = 500;
    std::int64_t t_upper = 900;
    std::int64_t resolution = 0;
    double flip = 0.5;
    std::string caption = "a photo of a {}";
    std::int64_t clip_skip = 1;
    std::string prediction = "auto";
    std::string weights = "int8";
    std::string compute = "fp32";
    std::string device = "cpu";
    std::int64_t threads = 0;
    std::int64_t seed = 0;
    std::int64_t checkpoint_every = 500;
};

const std::vector<Setting<TrainSettings>>& train_setting_fields();

// The defaults for a model with what the user chose on top. 0 stands for what depends on other
// things:
//   mu          1e-3, or 1e-2 with compute bf16, whose rounding drowns smaller differences
//   tau         128, or round(text_width / 6) for a width under 768: the paper's proportion
//   resolution  what the model was made for
// Throws Error for an unknown name, a value out of range, or two that contradict each other.
TrainSettings resolve_settings(const nlohmann::json& chosen, const Architecture& architecture = {});

// The settings that decide which numbers come out; device, threads and how often to save do not
// name a different run.
nlohmann::json result_settings(const TrainSettings& settings);

}  // namespace zoodip
