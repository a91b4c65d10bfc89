#include "objective/noise.h"

#include "core/error.h"
#include "core/log.h"

namespace zoodip {

BetaSchedule choose_betas(const BetaChoice& choice, const Architecture& architecture) {
    BetaSchedule betas = architecture.betas;
    betas.kind = choice.kind.value_or(betas.kind);
    require(betas.kind != BetaKind::trained || !betas.trained.empty(),
            "beta_schedule: trained means the list that a diffusers folder's configuration has as "
            "trained_betas, and this model has none");
    for (const double bound : {choice.start, choice.end}) {
        require(bound == 0 || has_bounds(betas.kind),
                "beta_start, beta_end: are for scaled_linear and linear betas, the schedule is ",
                name_of(beta_kind_names(), betas.kind));
        require(bound >= 0 && bound < 1, "beta_start, beta_end: need to be between 0 and 1, or 0 ",
                "for the model's own, got ", bound);
    }
    if (choice.start > 0) betas.start = choice.start;
    if (choice.end > 0) betas.end = choice.end;
    betas.zero_snr = choice.zero_snr.value_or(betas.zero_snr);
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
