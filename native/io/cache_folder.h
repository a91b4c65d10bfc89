// Where what can be found again is kept between processes.
#pragma once

#include <filesystem>

namespace zoodip {

// The folder ZOODIP_CACHE, or "zoodip" in XDG_CACHE_HOME, LOCALAPPDATA or ~/.cache, whichever is
// set first; it need not be there. Empty where none is set.
std::filesystem::path cache_folder();

}  // namespace zoodip
