// What the exact gradient would take in the place of an estimate.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "nn/weight_source.h"
#include "settings/settings.h"

namespace zoodip {

struct ExactOffer {
    std::int64_t steps = 0;   // by default
    std::int64_t memory = 0;  // bytes at the peak
    double step_ratio = 0;    // of the seconds of a step to those of the estimate's
};

// Nothing where the settings are exact themselves, where it is not known whether it fits, and where
// it does not. settings: decided.
std::optional<ExactOffer> exact_offer(const TrainSettings& settings, const AskedSettings& asked,
                                      const WeightSource& source);

// In one line, beside what the run itself takes.
std::string to_text(const ExactOffer& offer, double seconds_a_step, std::int64_t steps,
                    std::int64_t memory);

}  // namespace zoodip
