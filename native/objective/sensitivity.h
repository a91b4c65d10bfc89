// Which changes of a word the UNet hears of.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "nn/loader.h"
#include "words/text_encoders.h"
#include "words/token_layout.h"

namespace zoodip {

// What the UNet attends to, by how strongly it is read: J(theta) from a word to its captions'
// hidden states, and M, the keys and values of all cross-attention one below another (for a model
// that takes a pooled vector its projection too).
//
// Directions are the leading right singular vectors of M J, the mean over the captions taken: the
// eigenvectors of A = mean J^T M^T M J with the largest eigenvalues. A is estimated from `probes`
// vectors J^T M^T w with w ~ N(0, I), whose covariance it is: passes of the text encoders alone,
// none of the UNet.
struct SensitivityProbe {
    const WeightSource& source;
    const LoadOptions& load;
    const TextEncoders& text_encoders;
    const TokenLayout& layout;
    const std::vector<std::vector<PreparedText>>& texts;  // of each picture, at least one
    std::int64_t clip_skip = 1;
    PictureSize size = {};
    std::uint64_t seed = 0;
};

// float32 [rank, d] at theta, float32 [d]: orthonormal rows, the most sensitive first; fewer where
// the captions do not depend on more. Of several words so many for each, from the captions that
// have it, with zeros in the numbers of the others. A value of seed and inputs. Throws Cancelled,
// and Error for a rank outside [1, numbers of a word] and where no caption depends on a word at
// all.
at::Tensor sensitive_directions(const SensitivityProbe& probe, const at::Tensor& theta,
                                std::int64_t rank);

}  // namespace zoodip
