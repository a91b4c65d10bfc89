// Which noise schedule a model is used with: its own, or what was chosen.
#pragma once

#include <string>

#include "nn/family.h"
#include "settings/settings.h"

namespace zoodip {

// What was chosen of a noise schedule; "auto" and 0 follow the model.
struct BetaChoice {
    std::string zero_snr = "auto";  // "on", "off"
    std::string schedule = "auto";  // a kind of BetaSchedule
    double start = 0, end = 0;
};

// Throws Error for a kind that is not known, for bounds of betas that have none, and for the
// model's own betas where it brings none.
BetaSchedule choose_betas(const BetaChoice& choice, const Architecture& architecture);

BetaSchedule choose_betas(const TrainSettings& settings, const Architecture& architecture);

// Logs what is doubtful about the two together.
void warn_of_noise(Prediction prediction, const BetaSchedule& betas);

}  // namespace zoodip
