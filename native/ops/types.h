// The number types a run chooses from.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <c10/core/ScalarType.h>

namespace zoodip {

// How the weights of Linear and Conv2d layers are kept: as floating point in the compute type, or
// as the row of the table in weight_codec.cpp says.
enum class WeightType { dense, int8, int4 };

// The parts of a model, which may keep their weights differently.
enum class Part { unet, text_encoder, vae };

// The type of activations and of the products with the weights.
enum class ComputeType { float32, bfloat16 };

// What a part keeps when the run chose `chosen`. int4 is the paper's mix: the UNet in INT4, text
// encoder and autoencoder, a fifth of the parameters, in INT8.
WeightType part_weight_type(WeightType chosen, Part part);

std::vector<std::string> weight_type_names();           // every quantised type, then "dense"
WeightType parse_weight_type(std::string_view name);    // one of those; Error otherwise
ComputeType parse_compute_type(std::string_view name);  // "fp32" | "bf16"; Error otherwise
at::ScalarType scalar_type(ComputeType type);

}  // namespace zoodip
