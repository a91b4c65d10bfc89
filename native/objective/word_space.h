// Where the directions of a run lie, in terms of words.
#pragma once

#include "objective/sensitivity.h"
#include "settings/settings.h"
#include "zo/directions.h"

namespace zoodip {

// directions normal: all of theta. principal: for every vector the direction_rank leading principal
// directions of its encoder's vocabulary. related: what the vectors of related_words span. Throws
// Error for a rank that the vocabulary does not have, and for words that the model does not know.
// sensitive: the direction_rank leading ones of objective/sensitivity.h at theta, float32 [d], the
// word to start from. mu_scale table: with a scale by the tables' norms.
DirectionSpace direction_space(const TrainSettings& settings, const SensitivityProbe& probe,
                               const at::Tensor& theta);

// The root of the mean square of the numbers in a table's rows [count, width], of any
// floating-point type. Rows of zeros, which were never trained, are left out; 0 where all are.
double typical_number(const at::Tensor& table);

// The mean length of a table's rows [count, width], of any floating-point type.
double mean_row_norm(const at::Tensor& table);

}  // namespace zoodip
