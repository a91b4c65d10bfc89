#include "core/settings.h"

#include <cmath>
#include <sstream>

namespace zoodip {
std::string format_number(double value) {
    constexpr double exact_below = 9007199254740992.0;  // 2^53
    if (std::floor(value) == value && std::abs(value) < exact_below) {
        return std::to_string(static_cast<std::int64_t>(value));
    }
    std::ostringstream out;
    out.precision(12);
    out << value;
    return out.str();
}

}  // namespace zoodip
