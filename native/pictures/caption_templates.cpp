#include "pictures/caption_templates.h"

#include <sstream>

#include "core/error.h"
#include "pictures/caption_text.h"

namespace zoodip {

namespace {

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) {
        const std::string tidy = tidy_caption(line);
        if (tidy.empty() || tidy.front() == '#') continue;
        require(tidy.find("{}") != std::string::npos, "templates: the line '", shortened(tidy),
                "' does not say where the word goes: put {} there, as in 'a photo of a {}'");
        lines.push_back(tidy);
    }
    require(!lines.empty(),
            "templates: needs object, style, or lines with {} where the word goes; "
            "got '",
            shortened(text), "'");
    return lines;
}

}  // namespace

std::vector<std::string> caption_templates(const std::string& name) {
    static const std::vector<std::string> object = {
        "a photo of a {}",           "a rendering of a {}",
        "a cropped photo of the {}", "the photo of a {}",
        "a photo of a clean {}",     "a photo of a dirty {}",
        "a dark photo of the {}",    "a photo of my {}",
        "a photo of the cool {}",    "a close-up photo of a {}",
        "a bright photo of the {}",  "a cropped photo of a {}",
        "a photo of the {}",         "a good photo of the {}",
        "a photo of one {}",         "a close-up photo of the {}",
        "a rendition of the {}",     "a photo of the clean {}",
        "a rendition of a {}",       "a photo of a nice {}",
        "a good photo of a {}",      "a photo of the nice {}",
        "a photo of the small {}",   "a photo of the weird {}",
        "a photo of the large {}",   "a photo of a cool {}",
        "a photo of a small {}",
    };
    // Two occur twice in the original, and so weigh double: once is enough.
    static const std::vector<std::string> style = {
        "a painting in the style of {}",         "a rendering in the style of {}",
        "a cropped painting in the style of {}", "the painting in the style of {}",
        "a clean painting in the style of {}",   "a dirty painting in the style of {}",
        "a dark painting in the style of {}",    "a picture in the style of {}",
        "a cool painting in the style of {}",    "a close-up painting in the style of {}",
        "a bright painting in the style of {}",  "a good painting in the style of {}",
        "a rendition in the style of {}",        "a nice painting in the style of {}",
        "a small painting in the style of {}",   "a weird painting in the style of {}",
        "a large painting in the style of {}",
    };
    if (name == "object") return object;
    if (name == "style") return style;
    return lines_of(name);
}

}  // namespace zoodip
