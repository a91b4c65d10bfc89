// Which noise a model was trained on, as its files tell.
#pragma once

#include "diffusion/beta_schedule.h"
#include "nn/weight_source.h"

namespace zoodip {

// From the metadata of nn/family.h; without any, that of Stable Diffusion 1.x. A tensor called
// `ztsnr` beside the model says zero_snr as well, as in NoobAI's files. Throws Error for a schedule
// that is not one of these.
BetaSchedule detect_beta_schedule(const WeightSource& weights);

}  // namespace zoodip
