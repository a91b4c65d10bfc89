// The head of a request: which are taken, and what they say.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "server/http_error.h"
#include "server/limits.h"

namespace zoodip {

struct RequestHead {
    std::string method;   // any token: GET, POST, ...
    std::string target;   // "/v1/jobs?x=1": begins with a slash, visible ASCII
    HttpHeaders headers;  // names in lower case, values without space around them
    std::uint64_t content_length = 0;
    bool expects_continue = false;
    bool keep_alive = true;

    // The value of a header; nothing when it is absent. name: in lower case.
    std::optional<std::string> header(std::string_view name) const;
};

// Whether `bytes`, the start of a request, hold its whole head: the length with the blank line, or
// nothing. Throws HttpError as soon as it cannot become one that is taken: 400, 414, 431.
std::optional<std::size_t> head_length(std::string_view bytes, const ServerLimits& limits);

// Stricter than RFC 9112 allows a server to be, since every leniency is a way to smuggle a request
// past somebody: lines end in CR LF, one Host, no Transfer-Encoding (411) and no Content-Encoding
// (415). Throws HttpError: 400, 411, 413, 415, 417, 431, 505.
RequestHead parse_head(std::string_view head, const ServerLimits& limits);

}  // namespace zoodip
