// What a run leaves open, decided for a model and this machine: from what was asked to the settings
// that everything which runs is given.
#pragma once

#include <cstdint>
#include <string>

#include <nlohmann/json.hpp>

#include "nn/weight_source.h"
#include "settings/settings.h"

namespace zoodip {

struct DecidedSettings {
    TrainSettings settings;
    std::string compute_choice;  // why "auto" took these products; empty where none was to choose
};

// In this order: method (exact where that fits into the memory that is there, else an estimate, as
// where the memory is not known), compute (what the processor is quickest in), and what follows
// from both and from the model. Then the chunk: 0 stays 0 where all points of a step fit, else it
// becomes the largest that does. fit false leaves the chunk open and refuses nothing for want of
// memory. processes: that take the same at the same time, and share what is free. Throws Error for
// settings that cannot be, and, by parts, for a run that would not fit even point by point.
DecidedSettings decide(AskedSettings asked, const WeightSource& source, bool fit = true,
                       int processes = 1);

// Whether a run of these settings, decided, fits into the memory that is there, all points of a
// step at once. false where that is not known.
bool fits(const TrainSettings& settings, const WeightSource& source);

// How many of `runs` of these settings, decided, can share passes within the memory that is there:
// at least 1. One by one go chunks, products of torch's operators, which round a row by how many
// there are, and those of integer activations, whose scales are of one run and timestep.
std::int64_t runs_together(const TrainSettings& settings, const WeightSource& source,
                           std::int64_t runs);

// What `decide` makes of settings by name.
DecidedSettings settings_for(const nlohmann::json& chosen, const WeightSource& source,
                             bool fit = true);

}  // namespace zoodip
