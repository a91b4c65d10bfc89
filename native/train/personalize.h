// From a checkpoint and pictures to a token file: what every edge calls.
#pragma once

#include "core/cancel.h"
#include "train/observer.h"
#include "train/plan.h"

namespace zoodip {

// Checks names, settings, captions and outputs before a weight is read, then trains. When `cancel`
// is set, stops within one UNet block and keeps word and state as of the last whole step; a
// cancellation before the first step throws Cancelled and writes nothing. Throws Error otherwise.
PersonalizeResult personalize(const PersonalizeRequest& request, PersonalizeObserver& observer,
                              const CancelToken& cancel);
PersonalizeResult personalize(const GraphRequest& request, PersonalizeObserver& observer,
                              const CancelToken& cancel);

}  // namespace zoodip
