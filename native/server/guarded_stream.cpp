#include "server/guarded_stream.h"

#include <algorithm>
#include <cstring>

namespace zoodip {
namespace {

constexpr std::size_t at_a_time = 1 << 14, max_dropped = 1 << 16;  // bytes

}  // namespace

bool GuardedStream::next() {
    if (received_.empty() && connection_.read(received_, at_a_time, after(limits_.idle_time)) !=
                                 Connection::Read::some) {
        return false;
    }
    const Deadline deadline = after(limits_.head_time);
    std::optional<std::size_t> length;
    while (!(length = head_length(received_, limits_))) {
        switch (connection_.read(received_, at_a_time, deadline)) {
            case Connection::Read::some:
                break;
            case Connection::Read::closed:
                return false;
            case Connection::Read::late:
                throw HttpError(408, concat("the request's head did not come within ",
                                            limits_.head_time.count(), " ms"));
        }
    }
    head_ = parse_head(std::string_view(received_).substr(0, *length), limits_);
    received_.erase(0, *length);
    body_left_ = head_.content_length;
    plain_ = plain_head(head_);
    plain_at_ = 0;
    return true;
}

std::string GuardedStream::read_body() {
    if (head_.expects_continue && received_.empty()) {
        connection_.write("HTTP/1.1 100 Continue\r\n\r\n", after(limits_.write_time));
    }
    cut_off_ = true;
    std::string body = received_.substr(0, body_left_);
    received_.erase(0, body.size());
    const Deadline deadline = after(limits_.body_time);
    while (body.size() < head_.content_length) {
        switch (connection_.read(body, head_.content_length - body.size(), deadline)) {
            case Connection::Read::some:
                break;
            case Connection::Read::closed:
                throw HttpError(400, "the connection ended before the body did");
            case Connection::Read::late:
                throw HttpError(
                    408, concat("the body did not come within ", limits_.body_time.count(), " ms"));
        }
    }
    body_left_ = 0;
    cut_off_ = false;
    return body;
}

bool GuardedStream::can_go_on() const {
    const bool held_back = body_left_ > 0 && head_.expects_continue;
    return !cut_off_ && !held_back && body_left_ <= max_dropped;
}

bool GuardedStream::drop_body() {
    if (!can_go_on()) return false;
    if (body_left_ == 0) return true;
    try {
        read_body();
        return true;
    } catch (const HttpError&) {  // the request has its answer already
        return false;
    }
}

ssize_t GuardedStream::read(char* to, std::size_t size) {
    const std::size_t count = std::min(size, plain_.size() - plain_at_);
    std::memcpy(to, plain_.data() + plain_at_, count);
    plain_at_ += count;
    return static_cast<ssize_t>(count);
}

ssize_t GuardedStream::write(const char* from, std::size_t size) {
    if (!connection_.write({from, size}, after(limits_.write_time))) return -1;
    return static_cast<ssize_t>(size);
}

}  // namespace zoodip
