// Lists in messages.
#pragma once

#include <string>
#include <vector>

namespace zoodip {

// "a, b, c".
inline std::string listed(const std::vector<std::string>& items) {
    std::string list;
    for (const std::string& item : items) list += (list.empty() ? "" : ", ") + item;
    return list;
}

}  // namespace zoodip
