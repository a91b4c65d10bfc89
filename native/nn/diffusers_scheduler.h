// The noise schedule in a diffusers folder's scheduler_config.json.
#pragma once

#include <map>
#include <string>

#include <nlohmann/json.hpp>

namespace zoodip {

// As the metadata of nn/family.h. What a configuration leaves out is what diffusers takes then: the
// default of the scheduler's class. Throws Error for schedulers of another kind of noise (flow
// matching, EDM), of distilled models and of names that are not known, and for other numbers of
// timesteps than 1000. `file` is for messages; config is an object.
std::map<std::string, std::string> read_scheduler(const std::string& file,
                                                  const nlohmann::json& config);

}  // namespace zoodip
