#include "server/session.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "core/log.h"

namespace zoodip {
namespace {

constexpr std::size_t at_a_time = 1 << 14, max_dropped = 1 << 16;  // bytes
// How soon a stream sees that its peer is gone.
constexpr std::chrono::milliseconds look_every{5000};

// Without the blank line behind it. close: whether the connection ends with this answer.
std::string head_of(const HttpResponse& response, bool close) {
    std::string out = concat("HTTP/1.1 ", response.status, ' ', title_of(response.status),
                             "\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n");
    for (const auto& [name, value] : response.headers) out += concat(name, ": ", value, "\r\n");
    if (close) out += "Connection: close\r\n";
    if (response.status == 204) return out;
    out += concat("Content-Type: ", response.content_type, "\r\n");
    if (!response.events) out += concat("Content-Length: ", response.body.size(), "\r\n");
    return out;
}

std::string chunk_of(std::string_view text) {
    std::array<char, 16> size;
    const auto end = std::to_chars(size.begin(), size.end(), text.size(), 16).ptr;
    return concat(std::string_view(size.data(), end), "\r\n", text, "\r\n");
}

}  // namespace

void Session::serve() {
    try {
        for (std::size_t i = 1; i <= limits_.requests && !stopping_ && next(); ++i) {
            if (!answer(/*last=*/i == limits_.requests) || !drop_body()) return;
        }
    } catch (const HttpError& error) {
        refuse(error);
    }
}

void Session::turn_away() {
    refuse({503,
            concat("at most ", limits_.connections, " connections are served at a time"),
            {{"Retry-After", "1"}}});
}

void Session::stop() {
    stopping_ = true;
    connection_.stop_reading();
}

// false when the peer has gone. Throws HttpError 408 at the deadline, which was `time` away.
bool Session::receive(std::string& into, std::size_t most, Deadline deadline, const char* what,
                      std::chrono::milliseconds time) {
    const Connection::Read read = connection_.read(into, most, deadline);
    if (read != Connection::Read::late) return read == Connection::Read::some;
    throw HttpError(408, concat(what, " did not come within ", time.count(), " ms"));
}

// Waits for a request and reads its head; false when the peer sends none, or has gone. Throws
// HttpError for a head that is not taken, with the connection good for nothing more then.
bool Session::next() {
    if (received_.empty() && connection_.read(received_, at_a_time, after(limits_.idle_time)) !=
                                 Connection::Read::some) {
        return false;
    }
    const Deadline deadline = after(limits_.head_time);
    std::optional<std::size_t> length;
    while (!(length = head_length(received_, limits_))) {
        if (!receive(received_, at_a_time, deadline, "the request's head", limits_.head_time)) {
            return false;
        }
    }
    head_ = parse_head(std::string_view(received_).substr(0, *length), limits_);
    received_.erase(0, *length);
    body_left_ = head_.content_length;
    return true;
}

// The whole body of content_length bytes. Throws HttpError 400 when the peer goes before its end,
// 408 when it takes too long.
std::string Session::read_body() {
    if (head_.expects_continue && received_.empty()) write("HTTP/1.1 100 Continue\r\n\r\n");
    cut_off_ = true;
    std::string body = received_.substr(0, body_left_);
    received_.erase(0, body.size());
    const Deadline deadline = after(limits_.body_time);
    while (body.size() < head_.content_length) {
        if (!receive(body, head_.content_length - body.size(), deadline, "the body",
                     limits_.body_time)) {
            throw HttpError(400, "the connection ended before the body did");
        }
    }
    body_left_ = 0;
    cut_off_ = false;
    return body;
}

// Whether another request can follow: not behind a body that did not come whole, nor behind a large
// one that nobody read, which is not worth its time.
bool Session::can_go_on() const {
    const bool held_back = body_left_ > 0 && head_.expects_continue;
    return head_.keep_alive && !cut_off_ && !held_back && body_left_ <= max_dropped;
}

// Drops a body that nobody read, so that the next request follows; false where none can.
bool Session::drop_body() {
    if (body_left_ == 0) return true;
    try {
        read_body();
        return true;
    } catch (const HttpError&) {  // the request has its answer already
        return false;
    }
}

// false when no other request follows.
bool Session::answer(bool last) {
    HttpResponse response = api_.answer({head_, [this] { return read_body(); }});
    const bool goes_on = !last && can_go_on(), with_body = head_.method != "HEAD";
    std::string head = head_of(response, !goes_on);
    if (response.events && with_body) {
        return write(head + "Transfer-Encoding: chunked\r\n\r\n") &&
               send_events(*std::move(response.events)) && goes_on;
    }
    return write(head + "\r\n") && (!with_body || write(response.body)) && goes_on;
}

// The events of a job, each chunk some of them, until no more follow; false when they are cut off.
bool Session::send_events(EventStream stream) {
    Deadline beat = after(limits_.heartbeat);
    while (!stopping_ && connection_.peer_is_there()) {
        auto text = next_events(stream);
        if (!text) {
            // The file cannot be read where there is more: the peer may ask again.
            return stream.log->last() <= stream.after && write(chunk_of(""));
        }
        if (text->empty()) {
            if (stream.log->wait(stream.after, std::min(look_every, limits_.heartbeat))) continue;
            if (std::chrono::steady_clock::now() < beat) continue;
            text = ": \n\n";  // a comment, which keeps proxies and clients from giving up
        }
        if (!write(chunk_of(*text))) return false;
        beat = after(limits_.heartbeat);
    }
    return false;
}

// The last answer, to what the API never sees.
void Session::refuse(const HttpError& error) {
    const HttpResponse response = problem_response(error);
    write(concat(head_of(response, /*close=*/true), "\r\n", response.body));
}

bool Session::write(std::string_view bytes) {
    return connection_.write(bytes, after(limits_.write_time));
}

}  // namespace zoodip
