// Files that are no checkpoint of a supported family, told by the names of their tensors.
#pragma once

#include "nn/weight_source.h"

namespace zoodip {

// The end of every message that refuses another kind of file.
inline constexpr const char* family_remedy =
    " zoodip trains Stable Diffusion 1.x, 2.x and XL: give a whole checkpoint of one of these";

// Throws Error that says what the weights are: an adapter (LoRA, ControlNet), another family,
// weights that are quantised already and, where there is no UNet under an original checkpoint's
// name, a learned word or one part of a model alone. Such names beside a whole checkpoint are
// stray entries that nothing reads, and pass.
void refuse_foreign_weights(const WeightSource& weights);

}  // namespace zoodip
