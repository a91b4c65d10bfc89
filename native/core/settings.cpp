#include "core/settings.h"

#include <cmath>
#include <numeric>
#include <sstream>

namespace zoodip {
namespace {

// Levenshtein's distance.
std::size_t edit_distance(const std::string& a, const std::string& b) {
    std::vector<std::size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 0; i < a.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i + 1;
        for (std::size_t j = 0; j < b.size(); ++j) {
            const std::size_t replaced = diagonal + (a[i] != b[j]);
            diagonal = row[j + 1];
            row[j + 1] = std::min({row[j] + 1, diagonal + 1, replaced});
        }
    }
    return row[b.size()];
}

}  // namespace

std::string nearest_name(const std::string& name, const std::vector<std::string>& candidates) {
    const auto best = std::min_element(candidates.begin(), candidates.end(),
                                       [&](const std::string& a, const std::string& b) {
                                           return edit_distance(name, a) < edit_distance(name, b);
                                       });
    return best == candidates.end() ? std::string{} : *best;
}

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
