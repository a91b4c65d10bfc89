#include "objective/noise.h"

#include "core/error.h"
#include "core/log.h"

namespace zoodip {

BetaSchedule choose_betas(const BetaChoice& choice, const Architecture& architecture) {
    BetaSchedule betas = architecture.betas;
    if (choice.schedule != "auto") betas.kind = choice.schedule;
    const bool bounded = betas.kind == "scaled_linear" || betas.kind == "linear";
    require(bounded || betas.kind == "squaredcos_cap_v2" || betas.kind == "trained",
            "beta_schedule: needs auto, scaled_linear, linear, squaredcos_cap_v2 or trained, got '",
            betas.kind, "'");
    require(betas.kind != "trained" || !betas.trained.empty(),
            "beta_schedule: trained means the list that a diffusers folder's configuration has as "
            "trained_betas, and this model has none");
    for (const double bound : {choice.start, choice.end}) {
        require(bound == 0 || bounded, "beta_start, beta_end: are for scaled_linear and linear ",
                "betas, the schedule is ", betas.kind);
        require(bound >= 0 && bound < 1, "beta_start, beta_end: need to be between 0 and 1, or 0 ",
                "for the model's own, got ", bound);
    }
    if (choice.start > 0) betas.start = choice.start;
    if (choice.end > 0) betas.end = choice.end;
    require(choice.zero_snr == "auto" || choice.zero_snr == "on" || choice.zero_snr == "off",
            "zero_snr: needs auto, on or off, got '", choice.zero_snr, "'");
    if (choice.zero_snr != "auto") betas.zero_snr = choice.zero_snr == "on";
    return betas;
}

BetaSchedule choose_betas(const TrainSettings& settings, const Architecture& architecture) {
    return choose_betas(BetaChoice{settings.zero_snr, settings.beta_schedule, settings.beta_start,
                                   settings.beta_end},
                        architecture);
}

void warn_of_noise(Prediction prediction, const BetaSchedule& betas) {
    if (!betas.zero_snr || prediction == Prediction::v) return;
    log_warning(
        "zero_snr: with zero terminal SNR the last timestep holds no picture, and a model that "
        "predicts epsilon says nothing there; such models predict v. Set prediction to v or "
        "zero_snr to off if the files are wrong");
}

}  // namespace zoodip
