// Any bytes as what a client sends: the head of a request is taken or refused, and what is taken
// looks as the rest of the server expects it. With the server's limits, and with small ones.
#include <algorithm>
#include <optional>
#include <string>

#include "refusal.h"

#include "server/access.h"
#include "server/request_head.h"

namespace zoodip::fuzz {
namespace {

std::optional<std::size_t> length_of(std::string_view bytes, const ServerLimits& limits) {
    std::optional<std::size_t> length;
    if (!taken({400, 414, 431}, [&] { length = head_length(bytes, limits); })) return std::nullopt;
    if (!length) expect(bytes.size() < limits.head + 4, "no more is awaited than may come");
    return length;
}

// However the bytes arrive, it is the same head.
void check_length(std::string_view bytes, std::size_t length, const ServerLimits& limits) {
    expect(length >= 4 && length <= std::min(bytes.size(), limits.head + 4), "a head is bounded");
    const std::string_view head = bytes.substr(0, length);
    expect(head.ends_with("\r\n\r\n"), "a head ends with a blank line");
    expect(head.find("\r\n\r\n") == length - 4, "a head has one blank line");
    expect(head_length(head, limits) == length, "what follows a head does not matter");
    for (std::size_t size = length - std::min<std::size_t>(length, 300); size < length; ++size) {
        expect(!head_length(head.substr(0, size), limits), "a part of a head is no head");
    }
}

bool has_control(std::string_view text) {
    return std::any_of(text.begin(), text.end(), [](char c) {
        return (static_cast<unsigned char>(c) < ' ' && c != '\t') || c == 0x7F;
    });
}

void check_head(const RequestHead& head, const ServerLimits& limits) {
    expect(head.target.starts_with('/') && !has_control(head.target), "a target is a path");
    expect(!has_control(head.method) && !head.method.empty(), "a method is a word");
    expect(head.headers.size() <= limits.headers, "headers are bounded");
    int hosts = 0, lengths = 0;
    for (const auto& [name, value] : head.headers) {
        hosts += name == "host";
        lengths += name == "content-length";
        expect(!name.empty() && name.find_first_of(" \t:") == name.npos, "a name is a token");
        expect(std::none_of(name.begin(), name.end(), [](char c) { return c >= 'A' && c <= 'Z'; }),
               "a name is in lower case");
        expect(!has_control(name) && !has_control(value), "a header is one line");
        expect(name != "transfer-encoding" && name != "content-encoding", "bodies are plain");
    }
    expect(hosts == 1 && lengths <= 1, "the framing is not ambiguous");
    expect(head.content_length <= limits.body, "a body is bounded");
    expect(lengths == 1 || head.content_length == 0, "without a length there is no body");
    taken({401, 403}, [&] { check_access(head, {"127.0.0.1", 8642, ""}); });
    taken({401, 403}, [&] { check_access(head, {"192.0.2.1", 80, "token"}); });
}

void check(std::string_view bytes, const ServerLimits& limits) {
    const auto length = length_of(bytes, limits);
    if (!length) return;
    check_length(bytes, *length, limits);
    RequestHead head;
    if (taken({400, 405, 411, 413, 415, 417, 505},
              [&] { head = parse_head(bytes.substr(0, *length), limits); })) {
        check_head(head, limits);
    }
}

}  // namespace
}  // namespace zoodip::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace zoodip;
    using namespace zoodip::fuzz;
    check(as_text(data, size), {});
    ServerLimits small;
    small.line = 48;
    small.head = 160;
    small.headers = 4;
    small.body = 99;
    check(as_text(data, size), small);
    return 0;
}
