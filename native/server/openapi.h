// What the API says of itself, made from the settings' declarations and the limits in force.
#pragma once

#include <cstdint>

#include <nlohmann/json.hpp>

#include "server/limits.h"

namespace zoodip {

// The largest number of an event or a step: every double up to it is a whole number of its own.
constexpr std::uint64_t max_number = (std::uint64_t{1} << 53) - 1;

// JSON Schema (draft 2020-12) of the settings object. declared: as describe_fields gives them.
nlohmann::json settings_schema(const nlohmann::json& declared);

// OpenAPI 3.1.
nlohmann::json openapi_document(const nlohmann::json& declared, const ServerLimits& limits,
                                bool token);

}  // namespace zoodip
