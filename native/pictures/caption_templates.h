// Sentences that stand in for captions.
#pragma once

#include <string>
#include <vector>

namespace zoodip {

// The templates of Textual Inversion (Gal et al. 2022, arXiv 2208.01618): "object", 27 that speak
// of photographs, or "style", 17. "{}" is where the word goes. Any other text is the templates
// themselves, one in a line; lines without letters and those that begin with # are left out. Throws
// Error for a line without "{}" and where none is left.
std::vector<std::string> caption_templates(const std::string& name);

}  // namespace zoodip
