// INT8 weights as newer versions of ComfyUI store them (`int8_tensorwise`): X.weight is int8
// [out, in]; X.weight_scale is float32, one number for all or one for each output channel, and W =
// scale X.weight; X.comfy_quant, or the file's metadata, names the format in JSON.
#pragma once

#include <string>

#include <ATen/core/Tensor.h>

#include "nn/weight_source.h"

namespace zoodip {

// Whether it is such a weight.
bool is_tensorwise(const WeightSource& weights, const WeightInfo& info);

// Its scales, float32 [out]. Throws Error where they have another shape or a value that is not
// finite.
at::Tensor tensorwise_scale(const WeightSource& weights, const WeightInfo& info);

// Throws Error that names a layer in a format that differs: fp8, four bits, rotated before it was
// quantised (`convrot`), or with inputs that are scaled first (`pre_quant_scale`).
void refuse_other_formats(const WeightSource& weights);

}  // namespace zoodip
