#include "server/connection.h"

#include <algorithm>
#include <array>
#include <asio/buffer.hpp>
#include <utility>

#ifndef _WIN32
#include <fcntl.h>
#include <poll.h>
#endif

namespace zoodip {
namespace {

using asio::ip::tcp;

constexpr std::chrono::milliseconds closing_time{500};

// The one thing that Asio has no form of: a wait in this thread that ends at a deadline.
int poll_one(pollfd* one, int milliseconds) {
#ifdef _WIN32
    return WSAPoll(one, 1, milliseconds);
#else
    return poll(one, 1, milliseconds);
#endif
}

int milliseconds_until(Deadline deadline) {
    const auto left = deadline - std::chrono::steady_clock::now();
    const auto count = std::chrono::ceil<std::chrono::milliseconds>(left).count();
    return static_cast<int>(std::clamp<long long>(count, 0, 1'000'000'000));
}

bool may_go_on(const asio::error_code& error) {
    return error == asio::error::would_block || error == asio::error::interrupted;
}

}  // namespace

void keep_to_this_process([[maybe_unused]] tcp::socket::native_handle_type socket) {
#ifndef _WIN32
    fcntl(socket, F_SETFD, FD_CLOEXEC);
#endif
}

Connection::Connection(tcp::socket socket) : socket_(std::move(socket)) {
    keep_to_this_process(socket_.native_handle());
    asio::error_code gone;
    socket_.non_blocking(true, gone);  // a send of much would wait until all of it was taken
    socket_.set_option(tcp::no_delay(true), gone);
}

Connection::~Connection() {
    asio::error_code ignored;
    socket_.shutdown(tcp::socket::shutdown_send, ignored);
    const Deadline deadline = after(closing_time);
    std::string dropped;
    while (read(dropped, 1 << 16, deadline) == Read::some) dropped.clear();
}

bool Connection::wait(short events, Deadline deadline) {
    pollfd one{socket_.native_handle(), events, 0};
    return poll_one(&one, milliseconds_until(deadline)) != 0;  // what breaks it is seen next
}

// Both ask the socket first and wait when it has nothing: mostly it has.
Connection::Read Connection::read(std::string& into, std::size_t most, Deadline deadline) {
    std::array<char, 1 << 14> bytes;
    while (std::chrono::steady_clock::now() < deadline) {
        asio::error_code error;
        const std::size_t count = socket_.read_some(asio::buffer(bytes, most), error);
        if (count > 0) {
            into.append(bytes.data(), count);
            return Read::some;
        }
        if (!may_go_on(error)) return Read::closed;
        if (!wait(POLLIN, deadline)) break;
    }
    return Read::late;
}

bool Connection::write(std::string_view bytes, Deadline deadline) {
    while (!bytes.empty()) {
        asio::error_code error;
        const std::size_t count = socket_.write_some(asio::buffer(bytes), error);
        bytes.remove_prefix(count);
        if (count == 0 && (!may_go_on(error) || !wait(POLLOUT, deadline))) return false;
    }
    return true;
}

bool Connection::peer_is_there() {
    char byte = 0;
    asio::error_code error;
    socket_.receive(asio::buffer(&byte, 1), tcp::socket::message_peek, error);
    return !error || may_go_on(error);
}

void Connection::stop_reading() {
    asio::error_code ignored;
    socket_.shutdown(tcp::socket::shutdown_receive, ignored);
}

}  // namespace zoodip
