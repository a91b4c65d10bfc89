// From a checkpoint and pictures to a token file: what every edge calls.
#pragma once

#include <vector>

#include "core/cancel.h"
#include "train/joint_runs.h"
#include "train/observer.h"
#include "train/plan.h"
#include "train/subjects.h"

namespace zoodip {

// Checks names, settings, captions and outputs before a weight is read, then trains. When `cancel`
// is set, stops within one UNet block and keeps word and state as of the last whole step; a
// cancellation before the first step throws Cancelled and writes nothing. Throws Error otherwise.
PersonalizeResult personalize(const PersonalizeRequest& request, PersonalizeObserver& observer,
                              const CancelToken& cancel);
PersonalizeResult personalize(const GraphRequest& request, PersonalizeObserver& observer,
                              const CancelToken& cancel);

// Learns several words together: the model is read once, and their steps share passes of the UNet
// where memory allows. Each word is the one that it would be alone. All names and pictures are
// checked before a weight is read; the error names the subject. A request that resumes goes on
// where there is a stopped run, and begins where there is none. Then each ends by itself (Ending,
// in the order of the subjects, and told by its on_end). Once all are cancelled, stops as above.
// Throws Error for subjects of one word, one file, several models or differing settings, and where
// the model cannot be read.
std::vector<Ending> personalize(const std::vector<Subject<PersonalizeRequest>>& subjects);
std::vector<Ending> personalize(const std::vector<Subject<GraphRequest>>& subjects);

}  // namespace zoodip
