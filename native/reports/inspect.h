// What a checkpoint is, as one JSON object for every edge.
#pragma once

#include <filesystem>

#include <nlohmann/json.hpp>

namespace zoodip {

// {file, family, prediction, prediction_reason, schedule (in words), vae, text_width,
// text_encoders:
// [{key, width, heads, row_norm}], unet_heads: {count} or {channels}, parts:
// {unet, text_encoder, vae: {tensors, parameters, bytes: {type: n}}}, parameters, quantised_share,
// size_multiple, unread (names of tensors), memory: {program, encoding, text_encoder, unet, layer,
// activations, peak}} (bytes), with the memory that training takes with the chosen settings. Reads
// names and shapes, and of the weights the tables of tokens. Throws Error when the path holds no
// checkpoint that can be used, naming what it is.
nlohmann::json inspect_model(const std::filesystem::path& path, const nlohmann::json& chosen);

}  // namespace zoodip
