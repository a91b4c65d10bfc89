// Lists in messages.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace zoodip {

// "a, b, c", with `between` in place of the comma.
inline std::string listed(const std::vector<std::string>& items, const char* between = ", ") {
    std::string list;
    for (const std::string& item : items) list += (list.empty() ? "" : between) + item;
    return list;
}

// "a, b or c".
inline std::string listed_or(const std::vector<std::string>& items) {
    std::string list;
    for (std::size_t i = 0; i < items.size(); ++i) {
        list += (i == 0 ? "" : i + 1 == items.size() ? " or " : ", ") + items[i];
    }
    return list;
}

}  // namespace zoodip
