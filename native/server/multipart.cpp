#include "server/multipart.h"

#include <algorithm>

#include "core/ascii.h"
#include "server/http_error.h"

namespace zoodip {
namespace {

constexpr std::size_t max_part_head = 4096;  // bytes

[[noreturn]] void refuse(const std::string& what) {
    throw HttpError(400, "multipart/form-data: " + what);
}

// Takes a value from the front: a token up to ';', or a quoted string with its escapes resolved.
std::string take_value(std::string_view& rest) {
    rest = trim_blanks(rest);
    std::string value;
    if (rest.empty() || rest.front() != '"') {
        const std::string_view token = rest.substr(0, rest.find(';'));
        rest.remove_prefix(token.size());
        return std::string(trim_blanks(token));
    }
    for (std::size_t i = 1; i < rest.size(); ++i) {
        if (rest[i] == '"') {
            rest.remove_prefix(i + 1);
            return value;
        }
        if (rest[i] == '\\' && i + 1 < rest.size()) ++i;
        value += rest[i];
    }
    refuse("a quoted value has no end");
}

// ; name="pictures"; filename="1.jpg": the value of one parameter, empty when it is absent.
std::string parameter(std::string_view header, std::string_view name) {
    std::string_view rest = header.substr(std::min(header.size(), header.find(';')));
    while (!rest.empty()) {
        rest.remove_prefix(1);  // ';'
        const std::size_t equals = rest.find('=');
        if (equals == std::string_view::npos) break;
        const std::string key = lower_ascii(trim_blanks(rest.substr(0, equals)));
        rest.remove_prefix(equals + 1);
        std::string value = take_value(rest);
        if (key == name) return value;
        rest.remove_prefix(std::min(rest.size(), rest.find(';')));
    }
    return {};
}

bool is_boundary_character(char c) {
    constexpr std::string_view others = "'()+_,-./:=? ";
    return is_alphanumeric(c) || others.find(c) != std::string_view::npos;
}

// Name and file name from the header lines of a part.
FormPart parse_part_head(std::string_view head) {
    FormPart part;
    bool found = false;
    while (!head.empty()) {
        const std::string_view line = head.substr(0, head.find("\r\n"));
        head.remove_prefix(std::min(head.size(), line.size() + 2));
        const std::size_t colon = line.find(':');
        if (colon == std::string_view::npos) refuse("a part's header line has no colon");
        if (lower_ascii(trim_blanks(line.substr(0, colon))) != "content-disposition") continue;
        const std::string_view value = trim_blanks(line.substr(colon + 1));
        if (lower_ascii(trim_blanks(value.substr(0, value.find(';')))) != "form-data") {
            refuse("a part's Content-Disposition is not form-data");
        }
        part.name = parameter(value, "name");
        part.file_name = parameter(value, "filename");
        found = true;
    }
    if (!found || part.name.empty()) refuse("a part has no name");
    return part;
}

FormPart parse_part(std::string_view part) {
    const std::size_t blank = part.substr(0, max_part_head + 4).find("\r\n\r\n");
    if (blank == std::string_view::npos) {
        refuse(concat("a part's head has no end within ", max_part_head, " bytes"));
    }
    FormPart parsed = parse_part_head(part.substr(0, blank));
    parsed.content = part.substr(blank + 4);
    return parsed;
}

}  // namespace

std::string boundary_of(std::string_view content_type) {
    std::string boundary = parameter(content_type, "boundary");
    if (boundary.empty() || boundary.size() > 70 || boundary.back() == ' ' ||
        !std::all_of(boundary.begin(), boundary.end(), is_boundary_character)) {
        refuse("its Content-Type needs a boundary of 1 to 70 characters");
    }
    return boundary;
}

std::vector<FormPart> parse_multipart(std::string_view body, std::string_view boundary,
                                      std::size_t most) {
    const std::string opening = concat("--", boundary), delimiter = concat("\r\n--", boundary);
    if (!body.starts_with(opening)) refuse("the body does not begin with its boundary");
    body.remove_prefix(opening.size());
    std::vector<FormPart> parts;
    while (!body.starts_with("--")) {
        if (!body.starts_with("\r\n")) refuse("a boundary line does not end");
        if (parts.size() == most) {
            throw HttpError(413, concat("a form may have at most ", most, " parts"));
        }
        body.remove_prefix(2);
        const std::size_t end = body.find(delimiter);
        if (end == std::string_view::npos) refuse("the last boundary is missing");
        parts.push_back(parse_part(body.substr(0, end)));
        body.remove_prefix(end + delimiter.size());
    }
    return parts;
}

}  // namespace zoodip
