// Sentences that stand in for captions.
#pragma once

#include <string>
#include <vector>

namespace zoodip {

// The templates of Textual Inversion (Gal et al. 2022, arXiv 2208.01618): "object", 27 that speak
// of photographs, or "style", 17. "{}" is where the word goes. Throws Error for another name.
const std::vector<std::string>& caption_templates(const std::string& name);

}  // namespace zoodip
