// Runs of several words over one set of frozen weights, step by step beside each other.
//
// Each run has its own word, moments, state, files and observer, and makes the word that it would
// make alone: a row has the same loss beside any neighbours (objective/objective.h).
#pragma once

#include <cstddef>
#include <exception>
#include <functional>
#include <optional>
#include <vector>

#include "objective/objective.h"
#include "train/run.h"
#include "train/trainer.h"

namespace zoodip {

// How one of them ended: with a result, or with what it would have thrown alone.
struct Ending {
    std::optional<PersonalizeResult> result;
    std::exception_ptr failure;
};
// Called from the thread that trains, once a run has ended; must not throw.
using OnEnd = std::function<void(const Ending& ending)>;

struct JointRun {
    Run* run;
    Trainer* trainer;
    DiffusionObjective* objective;
    OnEnd on_end;
};

// Trains all to their ends; one that ends, is stopped or fails leaves the others to go on. A pass
// that fails or is cancelled as a whole ends all that still go on, each as it would end alone. The
// runs have one UNet, and settings that are equal but for what they learn from. together: how many
// share a pass at most.
std::vector<Ending> execute_jointly(const std::vector<JointRun>& runs, std::size_t together);

}  // namespace zoodip
