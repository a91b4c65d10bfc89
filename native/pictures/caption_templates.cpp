#include "pictures/caption_templates.h"

#include <cstddef>
#include <sstream>

#include "core/error.h"
#include "core/names.h"
#include "pictures/caption_text.h"

namespace zoodip {

namespace embedded {  // data/object.txt and data/style.txt, which the nodes read as well
extern const unsigned char templates_object[], templates_style[];
extern const std::size_t templates_object_size, templates_style_size;
}  // namespace embedded

namespace {

std::string text_of(const unsigned char* bytes, std::size_t size) {
    return {reinterpret_cast<const char*>(bytes), size};
}

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
    using namespace embedded;
    static const NameTable<std::vector<std::string>> sets = {
        {lines_of(text_of(templates_object, templates_object_size)), "object"},
        {lines_of(text_of(templates_style, templates_style_size)), "style"}};
    const std::vector<std::string>* found = find_named(sets, name);
    return found != nullptr ? *found : lines_of(name);
}

}  // namespace zoodip
