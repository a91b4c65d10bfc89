// Settings in a message, as they are typed.
#pragma once

#include <string>

namespace zoodip {

// The engine names what a caller may set in backticks, `learning_rate` or `compute fp32`, for it
// does not know who asks; here that is an option: --learning-rate, --compute fp32. Other words in
// backticks stay as they are.
std::string with_options(const std::string& message);

}  // namespace zoodip
