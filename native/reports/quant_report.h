// What quantising does to a model: how much of it, what it saves, and what it costs.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>

#include <nlohmann/json.hpp>

#include "core/cancel.h"

namespace zoodip {

// {weights, parts: {unet, text_encoder, vae: P}, all: P} with the weights that `settings` choose.
// P: {weights: the type of the part's layers (not in `all`), parameters, quantised, share (0 to 1),
// bytes_before: as stored, bytes_after: as held in memory, layers, mean_error, worst_error,
// worst_layer}. The error of a layer is |W - W_q| / |W| in the Frobenius norm, 0 where W is 0; the
// mean is over layers. Reads every weight, one at a time; on_tensor(done, total) after each.
// Throws Error, also when the settings choose dense weights, and Cancelled.
nlohmann::json report_quantisation(const std::filesystem::path& model,
                                   const nlohmann::json& settings,
                                   const std::function<void(std::int64_t, std::int64_t)>& on_tensor,
                                   const CancelToken& cancel);

}  // namespace zoodip
