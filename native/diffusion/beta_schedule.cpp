#include "diffusion/beta_schedule.h"

#include "core/settings.h"

namespace zoodip {

const NameTable<BetaKind>& beta_kind_names() {
    static const NameTable<BetaKind> names = {{BetaKind::scaled_linear, "scaled_linear"},
                                              {BetaKind::linear, "linear"},
                                              {BetaKind::squaredcos_cap_v2, "squaredcos_cap_v2"},
                                              {BetaKind::trained, "trained"}};
    return names;
}

std::string describe(const BetaSchedule& schedule) {
    const std::string text = concat(schedule.zero_snr ? "zero-SNR " : "",
                                    name_of(beta_kind_names(), schedule.kind), " betas");
    if (!has_bounds(schedule.kind)) return text;
    return concat(text, " from ", format_number(schedule.start), " to ",
                  format_number(schedule.end));
}

}  // namespace zoodip
