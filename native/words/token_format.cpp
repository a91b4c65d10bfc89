#include "words/token_format.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include "core/error.h"

namespace zoodip {
namespace {

constexpr std::array<const char*, 3> format_names = {"comfyui", "a1111", "diffusers"};

}  // namespace

const char* token_format_name(TokenFormat format) {
    return format_names[static_cast<std::size_t>(format)];
}

TokenFormat parse_token_format(const std::string& name) {
    const auto found = std::find(format_names.begin(), format_names.end(), name);
    require(found != format_names.end(), "to: needs one of comfyui, a1111, diffusers; got '", name,
            "'");
    return static_cast<TokenFormat>(found - format_names.begin());
}

}  // namespace zoodip
