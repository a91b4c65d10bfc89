#include "nn/diffusers_scheduler.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "core/error.h"
#include "core/json.h"
#include "nn/family.h"

namespace zoodip {
namespace {

using nlohmann::json;

// Schedulers of diffusers 0.40 for a discrete schedule of betas, with the linear one that each
// takes where its configuration says nothing.
struct Kind {
    std::string_view name;
    double start = 0.0001, end = 0.02;
};
constexpr std::array<Kind, 18> kinds = {{{"DDIMScheduler"},
                                         {"DDIMInverseScheduler"},
                                         {"DDIMParallelScheduler"},
                                         {"DDPMScheduler"},
                                         {"DDPMParallelScheduler"},
                                         {"DEISMultistepScheduler"},
                                         {"DPMSolverMultistepScheduler"},
                                         {"DPMSolverMultistepInverseScheduler"},
                                         {"DPMSolverSinglestepScheduler"},
                                         {"DPMSolverSDEScheduler", 0.00085, 0.012},
                                         {"EulerDiscreteScheduler"},
                                         {"EulerAncestralDiscreteScheduler"},
                                         {"HeunDiscreteScheduler", 0.00085, 0.012},
                                         {"KDPM2DiscreteScheduler", 0.00085, 0.012},
                                         {"KDPM2AncestralDiscreteScheduler", 0.00085, 0.012},
                                         {"LMSDiscreteScheduler"},
                                         {"PNDMScheduler"},
                                         {"UniPCMultistepScheduler"}}};

std::string plain_text(const json& value) {
    return value.is_string() ? value.get<std::string>() : value.dump();
}

bool says(const json& config, const char* key) {
    return config.contains(key) && !config[key].is_null();
}

const Kind* find_kind(const std::string& name) {
    const auto found = std::find_if(kinds.begin(), kinds.end(),
                                    [&](const Kind& kind) { return kind.name == name; });
    return found == kinds.end() ? nullptr : &*found;
}

const Kind& require_known(const std::string& file, const std::string& name) {
    const Kind* kind = find_kind(name);
    const char* what = name.find("Flow") != std::string::npos ? " (flow matching)"
                       : name.starts_with("EDM")              ? " (continuous noise)"
                       : name == "LCMScheduler" || name == "TCDScheduler"
                           ? " (a distilled model, which has no loss to train on; train on the "
                             "model that it was made from)"
                           : "";
    require(kind != nullptr, file, ": the scheduler is ", name, what,
            "; what can be trained on has betas and 1000 timesteps, such as DDIMScheduler");
    return *kind;
}

// Switches that make another kind of noise of a scheduler that is known.
void refuse_other_noise(const std::string& file, const json& config) {
    const json flow = config.value("use_flow_sigmas", json(false));
    require(flow.is_null() || flow == false, file, ": use_flow_sigmas is ", flow.dump(),
            " (flow matching), which is not supported");
    const json type = config.value("timestep_type", json("discrete"));
    require(type.is_null() || type == "discrete", file, ": timestep_type is ", type.dump(),
            " (continuous noise), which is not supported");
    const json steps = config.value("num_train_timesteps", json(1000));
    require(steps.is_null() || steps == 1000, file, ": num_train_timesteps is ", steps.dump(),
            ", expected 1000");
}

}  // namespace

std::map<std::string, std::string> read_scheduler(const std::string& file, const json& config) {
    std::map<std::string, std::string> metadata;
    if (says(config, "_class_name")) {
        const Kind& kind = require_known(file, plain_text(config["_class_name"]));
        metadata[metadata_key::beta_schedule] = "linear";
        metadata[metadata_key::beta_start] = json(kind.start).dump();
        metadata[metadata_key::beta_end] = json(kind.end).dump();
    }
    refuse_other_noise(file, config);
    const std::pair<const char*, const char*> keys[] = {
        {"beta_schedule", metadata_key::beta_schedule},
        {"beta_start", metadata_key::beta_start},
        {"beta_end", metadata_key::beta_end},
        {"trained_betas", metadata_key::trained_betas},
        {"rescale_betas_zero_snr", metadata_key::zero_snr},
        {"prediction_type", metadata_key::prediction}};
    for (const auto& [key, name] : keys) {
        if (says(config, key)) metadata[name] = plain_text(config[key]);
    }
    return metadata;
}

}  // namespace zoodip
