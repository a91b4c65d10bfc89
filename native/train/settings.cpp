#include "train/settings.h"

#include <algorithm>
#include <cmath>

namespace zoodip {
namespace {

using Field = Setting<TrainSettings>;
using S = TrainSettings;

std::vector<Field> method_fields() {
    return {
        {"steps", &S::steps, 1, 1e7, {}, "steps", "How many updates of the word to make.", ""},
        {"n",
         &S::n,
         1,
         64,
         {},
         "",
         "Random directions a step; a step makes n + 1 forward passes.",
         "g = 1/n sum_i (L(theta + mu e_i) - L(theta)) / mu e_i"},
        {"mu",
         &S::mu,
         0,
         1,
         {},
         "",
         "How far along a direction the loss is looked at. 0 takes 1e-3, with bf16 activations "
         "1e-2.",
         "theta + mu e_i"},
        {"learning_rate",
         &S::learning_rate,
         1e-8,
         10,
         {},
         "",
         "Step size of ZOAdam.",
         "theta -= learning_rate mhat / (sqrt(vhat) + 1e-3)"},
        {"subspace",
         &S::subspace,
         0,
         0,
         {},
         "",
         "Subspace gradient: leave out the directions in "
         "which the last tau words hardly moved.",
         "g' = g (I - P^T P)"},
        {"tau",
         &S::tau,
         0,
         8192,
         {},
         "steps",
         "How many words the subspace is found from. 0 takes 128, "
         "for a narrower text encoder a sixth of its width.",
         ""},
        {"nu",
         &S::nu,
         1e-9,
         0.999,
         {},
         "",
         "Share of the variance that counts as hardly moved.",
         "i* = min i: sum_{j<=i} lambda_j / sum_k lambda_k > 1 - nu"},
        {"t_lower",
         &S::t_lower,
         0,
         999,
         {},
         "",
         "Smallest timestep drawn.",
         "t ~ U{t_lower, ..., t_upper - 1}"},
        {"t_upper", &S::t_upper, 1, 1000, {}, "", "One more than the largest timestep drawn.", ""},
    };
}

std::vector<Field> data_fields() {
    return {
        {"resolution",
         &S::resolution,
         0,
         2048,
         {},
         "pixels",
         "Pictures are cropped and scaled to squares of this side; time and memory grow with its "
         "square. 0 takes what the model was made for, 512 for Stable Diffusion 1.x.",
         ""},
        {"flip",
         &S::flip,
         0,
         1,
         {},
         "",
         "Probability of a mirrored picture. 0 for subjects with "
         "writing on them.",
         ""},
        {"caption",
         &S::caption,
         0,
         0,
         {},
         "",
         "Caption of pictures without a .txt file beside "
         "them; {} is where the word goes.",
         ""},
        {"seed", &S::seed, 0, 9007199254740991.0, {}, "", "All randomness follows from it.", ""},
    };
}

std::vector<Field> machine_fields() {
    return {
        {"clip_skip",
         &S::clip_skip,
         1,
         12,
         {},
         "",
         "1 takes the text encoder's last layer, 2 the "
         "one before.",
         ""},
        {"prediction",
         &S::prediction,
         0,
         0,
         {"auto", "epsilon", "v"},
         "",
         "What the UNet was "
         "trained to predict; auto follows the model's own metadata, else epsilon.",
         ""},
        {"weights",
         &S::weights,
         0,
         0,
         {"int8", "dense"},
         "",
         "How Linear and Conv2d weights are "
         "kept. int8 takes a quarter of the memory of dense fp32.",
         "W_q = round(W / s), s = max|W_row| / 127"},
        {"compute",
         &S::compute,
         0,
         0,
         {"fp32", "bf16"},
         "",
         "Type of the UNet's activations. bf16 "
         "is faster where the processor has it, but its rounding hides small differences of the "
         "loss.",
         ""},
        {"device", &S::device, 0, 0, {"cpu", "cuda"}, "", "Where the model runs.", ""},
        {"threads",
         &S::threads,
         0,
         1024,
         {},
         "",
         "Processor threads; 0 leaves the choice to "
         "torch.",
         ""},
        {"checkpoint_every",
         &S::checkpoint_every,
         1,
         1e7,
         {},
         "steps",
         "How often the run's state "
         "and the word so far are written.",
         ""},
    };
}

std::int64_t default_tau(std::int64_t text_width) {
    if (text_width >= 768) return 128;
    return std::max<std::int64_t>(2, std::lround(static_cast<double>(text_width) / 6.0));
}

}  // namespace

const std::vector<Field>& train_setting_fields() {
    static const std::vector<Field> fields = [] {
        std::vector<Field> all = method_fields();
        for (auto part : {data_fields(), machine_fields()}) {
            all.insert(all.end(), part.begin(), part.end());
        }
        return all;
    }();
    return fields;
}

TrainSettings resolve_settings(const nlohmann::json& chosen, const Architecture& architecture) {
    TrainSettings settings;
    set_fields(settings, train_setting_fields(), chosen);
    if (settings.mu == 0) settings.mu = settings.compute == "bf16" ? 1e-2 : 1e-3;
    if (settings.tau == 0) settings.tau = default_tau(architecture.text_width);
    if (settings.resolution == 0) settings.resolution = architecture.resolution;
    require(settings.mu >= 1e-8, "mu: needs at least 1e-08, or 0 for the default, got ",
            settings.mu);
    require(settings.tau >= 2, "tau: needs at least 2, or 0 for the default, got ", settings.tau);
    require(settings.resolution >= 64, "resolution: needs at least 64, or 0 for the model's own, ",
            "got ", settings.resolution);
    require(settings.t_lower < settings.t_upper, "t_lower: needs to be below t_upper, got ",
            settings.t_lower, " and ", settings.t_upper);
    require(settings.resolution % 8 == 0, "resolution: needs a multiple of 8, got ",
            settings.resolution);
    return settings;
}

nlohmann::json result_settings(const TrainSettings& settings) {
    nlohmann::json out = get_fields(settings, train_setting_fields());
    for (const char* name : {"device", "threads", "checkpoint_every"}) out.erase(name);
    return out;
}

}  // namespace zoodip
