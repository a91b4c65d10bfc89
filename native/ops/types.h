// The number types a run chooses from.
#pragma once

#include <string_view>

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include "core/names.h"

namespace zoodip {

// How the weights of Linear and Conv2d layers are kept: as floating point in the compute type, or
// as the row of the table in weight_codec.cpp says.
enum class WeightType { dense, int8, int4 };

// The parts of a model, which may keep their weights differently.
enum class Part { unet, text_encoder, vae };

// How the large products are made: what their inputs are rounded to. On the CPU only they are
// rounded; sums, norms and what goes from layer to layer stay float32. Elsewhere bfloat16 is the
// type of all activations. int8: with weights in INT8, on the CPU; activations are rounded to 8
// bits with static scales, those of sensitive layers to bfloat16.
enum class ComputeType { float32, bfloat16, int8 };

// What a part keeps when the run chose `chosen`. int4 is the paper's mix: the UNet in INT4, text
// encoder and autoencoder, a fifth of the parameters, in INT8.
WeightType part_weight_type(WeightType chosen, Part part);

const NameTable<WeightType>& weight_type_names();       // every quantised type, then "dense"
WeightType parse_weight_type(std::string_view name);    // one of those; Error otherwise
const NameTable<ComputeType>& compute_type_names();     // "fp32", "bf16", "int8"
ComputeType parse_compute_type(std::string_view name);  // one of those; Error otherwise

// Of floating-point numbers: float32 or bfloat16.
at::ScalarType scalar_type(ComputeType type);
// Of the activations between the layers, and of what a large product's inputs are rounded to, where
// they are floating point.
at::ScalarType stream_type(ComputeType type, at::Device device);
at::ScalarType rounded_type(ComputeType type, at::Device device);

}  // namespace zoodip
