#include "server/access.h"

#include <algorithm>
#include <string_view>

#include "core/ascii.h"

namespace zoodip {
namespace {

// "[::1]" for an IPv6 address, as in a URL.
std::string in_url(const std::string& host) {
    return host.find(':') == std::string::npos ? host : concat('[', host, ']');
}

// Whether an authority ("localhost:8642") is this server.
bool is_this_server(const std::string& authority, const Access& access) {
    const std::string asked = lower_ascii(authority);
    for (const std::string& name : {std::string("127.0.0.1"), std::string("localhost"),
                                    std::string("[::1]"), lower_ascii(in_url(access.host))}) {
        if (asked == concat(name, ':', access.port)) return true;
        if (asked == name && access.port == 80) return true;
    }
    return false;
}

// Every byte is looked at, whatever the first difference is.
bool equal_in_constant_time(std::string_view given, std::string_view expected) {
    unsigned difference = given.size() == expected.size() ? 0 : 1;
    for (std::size_t i = 0; i < expected.size(); ++i) {
        const char other = given.empty() ? '\0' : given[i % given.size()];
        difference |= static_cast<unsigned char>(other) ^ static_cast<unsigned char>(expected[i]);
    }
    return difference == 0;
}

void check_host(const RequestHead& head, const Access& access) {
    const std::string host = head.header("host").value_or("");
    // Beyond the loopback it has names that it cannot know; there the token, which no foreign page
    // has, stands in.
    if (is_loopback(access.host) && !is_this_server(host, access)) {
        throw HttpError(403, concat("this server is ", in_url(access.host), ':', access.port,
                                    ", not the Host that the request names"));
    }
}

void check_site(const RequestHead& head, const Access& access) {
    const auto origin = head.header("origin");
    if (origin && !(origin->starts_with("http://") && is_this_server(origin->substr(7), access))) {
        throw HttpError(403, "requests of other sites' pages are refused");
    }
    const auto site = head.header("sec-fetch-site");
    if (site && *site != "same-origin" && *site != "none") {
        throw HttpError(403, "requests of other sites' pages are refused");
    }
}

void check_token(const RequestHead& head, const Access& access) {
    if (access.token.empty()) return;
    const std::string given = head.header("authorization").value_or("");
    constexpr std::string_view scheme = "bearer ";
    const bool bearer = lower_ascii(given.substr(0, scheme.size())) == scheme;
    const std::string_view token =
        bearer ? std::string_view(given).substr(scheme.size()) : std::string_view();
    if (!equal_in_constant_time(token, access.token)) {
        throw HttpError(401, "this server asks for its token: Authorization: Bearer TOKEN",
                        {{"WWW-Authenticate", "Bearer realm=\"zoodip\""}});
    }
}

}  // namespace

void check_access(const RequestHead& head, const Access& access) {
    if (access.open) return;
    check_host(head, access);
    check_site(head, access);
    check_token(head, access);
}

bool is_loopback(const std::string& host) {
    return host == "localhost" || host == "::1" || host.starts_with("127.");
}

}  // namespace zoodip
