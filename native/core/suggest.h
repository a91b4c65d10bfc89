// What somebody may have meant by a name that there is not.
#pragma once

#include <string>
#include <vector>

namespace zoodip {

// The candidate with the fewest edits to `name`; empty when there are none.
std::string closest(const std::string& name, const std::vector<std::string>& candidates);

// "; did you mean 'X'?", X being the candidate that other trainers call `name`, or one that differs
// in a few letters; empty where neither is. Names are settings' or options': --learning-rate is lr.
std::string did_you_mean(const std::string& name, const std::vector<std::string>& candidates);

}  // namespace zoodip
