#include "core/json.h"

namespace zoodip {
namespace {

using nlohmann::json;

struct TooDeep {};

}  // namespace

json parse_json(std::string_view text) {
    const auto watch = [](int depth, json::parse_event_t event, json&) {
        const bool opens =
            event == json::parse_event_t::array_start || event == json::parse_event_t::object_start;
        if (opens && depth >= max_json_depth) throw TooDeep();
        return true;
    };
    // The parser takes a NUL for the end, whatever stands behind it.
    if (text.find('\0') != std::string_view::npos) return json(json::value_t::discarded);
    try {
        return json::parse(text, watch, /*allow_exceptions=*/false);
    } catch (const TooDeep&) {
        return json(json::value_t::discarded);
    }
}

std::string show_json(const json& value) {
    return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

bool is_utf8(const std::string& text) {
    try {
        json(text).dump();
        return true;
    } catch (const json::type_error&) {
        return false;
    }
}

}  // namespace zoodip
