// Where the directions of a run lie, in terms of words.
#pragma once

#include "settings/settings.h"
#include "words/text_encoders.h"
#include "words/token_layout.h"
#include "zo/directions.h"

namespace zoodip {

// directions normal: all of theta. principal: for every vector the direction_rank leading principal
// directions of its encoder's vocabulary. related: what the vectors of related_words span. Throws
// Error for a rank that the vocabulary does not have, and for words that the model does not know.
// mu_scale table: with a scale by the tables' norms.
DirectionSpace direction_space(const TrainSettings& settings, const TokenLayout& layout,
                               const TextEncoders& text_encoders);

// The mean length of a table's rows [count, width], of any floating-point type.
double mean_row_norm(const at::Tensor& table);

}  // namespace zoodip
