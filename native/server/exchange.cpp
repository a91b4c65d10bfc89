#include "server/exchange.h"

#include <algorithm>
#include <utility>

#include "core/json.h"

namespace zoodip {
namespace {

constexpr std::size_t events_at_a_time = 256;

int digit_of(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// "a%20b+c" -> "a b c". Throws HttpError 400 for what ends in half an escape.
std::string decoded(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '%') {
            out += text[i] == '+' ? ' ' : text[i];
            continue;
        }
        const int high = i + 2 < text.size() ? digit_of(text[i + 1]) : -1;
        const int low = i + 2 < text.size() ? digit_of(text[i + 2]) : -1;
        if (high < 0 || low < 0) throw HttpError(400, "the query: % needs two hexadecimal digits");
        out += static_cast<char>(16 * high + low);
        i += 2;
    }
    if (!is_utf8(out)) throw HttpError(400, "the query: needs UTF-8");
    return out;
}

}  // namespace

std::optional<std::string> HttpRequest::query(std::string_view name) const {
    const std::size_t mark = head.target.find('?');
    if (mark == std::string::npos) return std::nullopt;
    std::string_view rest = std::string_view(head.target).substr(mark + 1);
    while (!rest.empty()) {
        const std::string_view pair = rest.substr(0, rest.find('&'));
        rest.remove_prefix(std::min(rest.size(), pair.size() + 1));
        const std::size_t equals = pair.find('=');
        if (decoded(pair.substr(0, equals)) != name) continue;
        return equals == std::string_view::npos ? "" : decoded(pair.substr(equals + 1));
    }
    return std::nullopt;
}

std::optional<std::string> next_events(EventStream& stream) {
    const bool closed = stream.log->closed();  // before it is read: none follows then
    const bool has_more = stream.log->last() > stream.after;
    const auto events = stream.log->read(stream.after, events_at_a_time);
    // Where the file cannot be read, the peer may ask again.
    if (events.empty()) return closed || has_more ? std::nullopt : std::optional<std::string>("");
    std::string text;
    for (const JobEvent& event : events) {
        text += concat("id: ", event.id, "\nevent: ", event.kind, "\ndata: ", event.data, "\n\n");
    }
    stream.after = events.back().id;
    return text;
}

HttpResponse json_response(int status, const nlohmann::json& value, HttpHeaders headers) {
    return {status, "application/json", show_json(value) + "\n", std::move(headers), {}};
}

HttpResponse problem_response(const HttpError& error) {
    return {error.status(),
            "application/problem+json",
            problem_json(error) + "\n",
            error.headers(),
            {}};
}

}  // namespace zoodip
