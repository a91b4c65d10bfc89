// What messages call places on the server's disk: by the names that clients gave, or none.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace zoodip {

// A place and its name; without one, what lies in the place is named from there on.
using PlaceNames = std::vector<std::pair<std::filesystem::path, std::string>>;

// The message with the name of every place in it, and of what lies in one: with {"/srv/models", ""}
// and {"/srv/images/dog", "dog"}, "/srv/images/dog/1.txt: ..." is "dog/1.txt: ...".
std::string with_names(std::string message, PlaceNames places);

}  // namespace zoodip
