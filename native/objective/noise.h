// Which noise schedule a model is used with: its own, or what was chosen.
#pragma once

#include <optional>

#include "nn/family.h"
#include "settings/settings.h"

namespace zoodip {

// What was chosen of a noise schedule; nothing and 0 follow the model.
struct BetaChoice {
    std::optional<bool> zero_snr;
    std::optional<BetaKind> kind;
    double start = 0, end = 0;
};

// Throws Error for bounds of betas that have none, and for the model's own betas where it brings
// none.
BetaSchedule choose_betas(const BetaChoice& choice, const Architecture& architecture);

BetaSchedule choose_betas(const TrainSettings& settings, const Architecture& architecture);

// Logs what is doubtful about the two together.
void warn_of_noise(Prediction prediction, const BetaSchedule& betas);

}  // namespace zoodip
