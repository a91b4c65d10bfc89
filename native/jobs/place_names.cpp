#include "jobs/place_names.h"

#include <algorithm>
#include <string_view>

namespace zoodip {
namespace {

// Whether a path that ends here is whole: "/srv/dog" is not the beginning of "/srv/dogs".
bool ends_there(std::string_view rest) {
    if (rest.empty()) return true;
    if (rest.front() == '.') return rest.size() == 1 || rest[1] == ' ' || rest[1] == '\n';
    constexpr std::string_view after = "/\\ \n:;,'\")]";
    return after.find(rest.front()) != std::string_view::npos;
}

void replace_place(std::string& message, const std::string& place, const std::string& name) {
    for (std::size_t at = 0; (at = message.find(place, at)) != std::string::npos;) {
        const std::size_t end = at + place.size();
        if (!ends_there(std::string_view(message).substr(end))) {
            at = end;
            continue;
        }
        const bool inside = end < message.size() && (message[end] == '/' || message[end] == '\\');
        if (name.empty() && inside) {
            message.erase(at, place.size() + 1);
        } else {
            const std::string shown =
                name.empty() ? std::filesystem::path(place).filename().string() : name;
            message.replace(at, place.size(), shown);
            at += shown.size();
        }
    }
}

}  // namespace

std::string with_names(std::string message, PlaceNames places) {
    std::stable_sort(places.begin(), places.end(), [](const auto& a, const auto& b) {
        return a.first.native().size() > b.first.native().size();
    });
    for (const auto& [place, name] : places) {
        const std::string text = place.string();
        if (text.size() > 1) replace_place(message, text, name);
    }
    return message;
}

}  // namespace zoodip
