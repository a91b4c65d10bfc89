// What the API says of itself, made from the settings' declarations and the limits in force.
#pragma once

#include <nlohmann/json.hpp>

#include "server/limits.h"

namespace zoodip {

// JSON Schema (draft 2020-12) of the settings object. declared: as describe_fields gives them.
nlohmann::json settings_schema(const nlohmann::json& declared);

// OpenAPI 3.1.
nlohmann::json openapi_document(const nlohmann::json& declared, const ServerLimits& limits,
                                bool token);

}  // namespace zoodip
