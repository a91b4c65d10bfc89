// multipart/form-data (RFC 7578, RFC 2046).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace zoodip {

struct FormPart {
    std::string name;
    std::string file_name;     // empty for a plain field
    std::string_view content;  // a part of the body
};

// The boundary of a Content-Type; throws HttpError 400 when there is none that RFC 2046 allows.
std::string boundary_of(std::string_view content_type);

// The parts of a body, at most `most`. Throws HttpError: 400 for what is no such body, 413 for more
// parts.
std::vector<FormPart> parse_multipart(std::string_view body, std::string_view boundary,
                                      std::size_t most);

}  // namespace zoodip
