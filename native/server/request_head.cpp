#include "server/request_head.h"

#include <algorithm>
#include <charconv>

#include "core/ascii.h"

namespace zoodip {
namespace {

bool is_token_character(char c) {
    constexpr std::string_view others = "!#$%&'*+-.^_`|~";
    return is_alphanumeric(c) || others.find(c) != std::string_view::npos;
}

bool is_visible(char c) {
    return c > ' ' && c < 0x7F;
}

// Field values: visible characters, spaces, tabs, and bytes above ASCII, which mean nothing here.
bool is_value_character(char c) {
    return c == '\t' || (static_cast<unsigned char>(c) >= ' ' && c != 0x7F);
}

[[noreturn]] void refuse(int status, const std::string& detail) {
    throw HttpError(status, detail);
}

// Takes one line from the front of `rest`, without its CR LF.
std::string_view take_line(std::string_view& rest) {
    const std::size_t end = rest.find("\r\n");
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(rest.size(), line.size() + 2));
    if (line.find_first_of(std::string_view("\r\n\0", 3)) != std::string_view::npos) {
        refuse(400, "the request's head holds a CR, LF or NUL where none may be");
    }
    return line;
}

void parse_request_line(std::string_view line, RequestHead& head) {
    const std::size_t first = line.find(' '), second = line.find(' ', first + 1);
    if (first == std::string_view::npos || second == std::string_view::npos) {
        refuse(400, "the request line needs a method, a target and HTTP/1.1");
    }
    head.method = line.substr(0, first);
    head.target = line.substr(first + 1, second - first - 1);
    const std::string_view version = line.substr(second + 1);
    if (version.size() != 8 || !version.starts_with("HTTP/")) {
        refuse(400, "the request line needs a method, a target and HTTP/1.1");
    }
    if (version != "HTTP/1.1") refuse(505, "needs HTTP/1.1");
    if (head.method.empty() ||
        !std::all_of(head.method.begin(), head.method.end(), is_token_character)) {
        refuse(400, "the request's method is no HTTP token");
    }
    if (!head.target.starts_with('/') ||
        !std::all_of(head.target.begin(), head.target.end(), is_visible)) {
        refuse(400, "the request's target needs to begin with a slash and to be visible ASCII");
    }
}

void parse_header(std::string_view line, RequestHead& head) {
    const std::size_t colon = line.find(':');
    const std::string_view name = line.substr(0, colon);
    if (colon == std::string_view::npos || name.empty() ||
        !std::all_of(name.begin(), name.end(), is_token_character)) {
        refuse(400, "a header line needs a name, directly followed by a colon");
    }
    const std::string_view value = trim_blanks(line.substr(colon + 1));
    if (!std::all_of(value.begin(), value.end(), is_value_character)) {
        refuse(400, "a header's value holds a control character");
    }
    head.headers.emplace_back(lower_ascii(name), value);
}

// A line feed alone is seen at once, not when the time for a blank line is up.
void require_line_ends(std::string_view bytes) {
    for (std::size_t at = bytes.find('\n'); at < bytes.size(); at = bytes.find('\n', at + 1)) {
        if (at > 0 && bytes[at - 1] == '\r') continue;
        refuse(400, "the lines of a request's head end in CR LF");
    }
}

// Where the CR LF CR LF begins that bytes may end with a part of.
std::size_t without_line_end(std::string_view bytes) {
    std::size_t end = bytes.size();
    while (end > 0 && bytes.size() - end < 3 &&
           (bytes[end - 1] == '\r' || bytes[end - 1] == '\n')) {
        --end;
    }
    return end;
}

void require_once(const RequestHead& head, std::string_view name) {
    const auto is_it = [&](const auto& header) { return header.first == name; };
    if (std::count_if(head.headers.begin(), head.headers.end(), is_it) > 1) {
        refuse(400, concat("the header ", name, " is there more than once"));
    }
}

std::uint64_t parse_length(const RequestHead& head, const ServerLimits& limits) {
    const auto text = head.header("content-length");
    if (!text) return 0;
    std::uint64_t length = 0;
    const char* end = text->data() + text->size();
    const auto parsed = std::from_chars(text->data(), end, length);
    if (parsed.ec == std::errc::invalid_argument || parsed.ptr != end) {
        refuse(400, "the header Content-Length needs a whole number");
    }
    if (parsed.ec != std::errc() || length > limits.body) {
        refuse(413, concat("the body may have at most ", limits.body, " bytes"));
    }
    return length;
}

void check_framing(RequestHead& head, const ServerLimits& limits) {
    for (const char* name : {"host", "content-length", "content-type", "authorization", "origin",
                             "expect", "last-event-id", "sec-fetch-site"}) {
        require_once(head, name);
    }
    if (!head.header("host")) refuse(400, "the header Host is needed");
    if (head.header("transfer-encoding")) {
        refuse(head.header("content-length") ? 400 : 411,
               "bodies are taken with a Content-Length, not with a Transfer-Encoding");
    }
    if (head.header("content-encoding")) refuse(415, "bodies are taken without Content-Encoding");
    if (head.header("upgrade")) head.keep_alive = false;  // what follows may be no HTTP
    head.content_length = parse_length(head, limits);
    if (const auto expect = head.header("expect")) {
        if (lower_ascii(*expect) != "100-continue")
            refuse(417, "only 100-continue can be expected");
        head.expects_continue = head.content_length > 0;
    }
    const auto connection = head.header("connection");
    if (connection && lower_ascii(*connection).find("close") != std::string::npos) {
        head.keep_alive = false;
    }
}

}  // namespace

std::optional<std::string> RequestHead::header(std::string_view name) const {
    for (const auto& [known, value] : headers) {
        if (known == name) return value;
    }
    return std::nullopt;
}

std::optional<std::size_t> head_length(std::string_view bytes, const ServerLimits& limits) {
    const std::size_t blank = bytes.find("\r\n\r\n");
    const std::string_view head = bytes.substr(0, std::min(blank, without_line_end(bytes)));
    require_line_ends(bytes.substr(0, blank));
    std::size_t start = 0, lines = 0;
    while (start < head.size()) {
        const std::size_t end = std::min(head.find("\r\n", start), head.size());
        if (end - start > limits.line) {
            refuse(lines == 0 ? 414 : 431, concat(lines == 0 ? "the request line" : "a header line",
                                                  " may have at most ", limits.line, " bytes"));
        }
        start = end + 2;
        if (++lines > limits.headers + 1) {
            refuse(431, concat("a request may have at most ", limits.headers, " headers"));
        }
    }
    if (head.size() > limits.head) {
        refuse(431, concat("the request's head may have at most ", limits.head, " bytes"));
    }
    if (blank == std::string_view::npos) return std::nullopt;
    return blank + 4;
}

RequestHead parse_head(std::string_view bytes, const ServerLimits& limits) {
    RequestHead head;
    std::string_view rest = bytes;
    parse_request_line(take_line(rest), head);
    while (!rest.empty()) {
        const std::string_view line = take_line(rest);
        if (line.empty()) break;
        parse_header(line, head);
    }
    check_framing(head, limits);
    return head;
}

}  // namespace zoodip
