// What a UNet is asked to predict.
#pragma once

namespace zoodip {

enum class Prediction { epsilon, v };

}  // namespace zoodip
