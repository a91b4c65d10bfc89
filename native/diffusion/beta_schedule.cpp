#include "diffusion/beta_schedule.h"

#include "core/settings.h"

namespace zoodip {

std::string describe(const BetaSchedule& schedule) {
    const std::string text = concat(schedule.zero_snr ? "zero-SNR " : "", schedule.kind, " betas");
    if (schedule.kind != "scaled_linear" && schedule.kind != "linear") return text;
    return concat(text, " from ", format_number(schedule.start), " to ",
                  format_number(schedule.end));
}

}  // namespace zoodip
