// What a UNet is asked to predict.
#pragma once

#include "core/names.h"

namespace zoodip {

enum class Prediction { epsilon, v };

inline const NameTable<Prediction>& prediction_names() {
    static const NameTable<Prediction> names = {{Prediction::epsilon, "epsilon"},
                                                {Prediction::v, "v"}};
    return names;
}

}  // namespace zoodip
