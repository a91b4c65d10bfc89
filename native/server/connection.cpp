#include "server/connection.h"

#include <algorithm>
#include <array>
#include <cerrno>

#ifdef _WIN32
#define NOMINMAX
#include <winsock2.h>
#else
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#endif

namespace zoodip {
namespace {

#ifdef _WIN32
constexpr int no_signal = 0, stop_receiving = SD_RECEIVE, stop_sending = SD_SEND;
int poll_one(pollfd* one, int milliseconds) {
    return WSAPoll(one, 1, milliseconds);
}
bool may_go_on() {
    return WSAGetLastError() == WSAEINTR || WSAGetLastError() == WSAEWOULDBLOCK;
}
void close_socket(Socket socket) {
    closesocket(socket);
}
void never_block(Socket socket) {
    unsigned long on = 1;
    ioctlsocket(socket, FIONBIO, &on);
}
using Length = int;
#else
// A peer that is gone must not send SIGPIPE to the host.
constexpr int no_signal = MSG_NOSIGNAL, stop_receiving = SHUT_RD, stop_sending = SHUT_WR;
int poll_one(pollfd* one, int milliseconds) {
    return poll(one, 1, milliseconds);
}
bool may_go_on() {
    return errno == EINTR || errno == EAGAIN;
}
void close_socket(Socket socket) {
    close(socket);
}
void never_block(Socket socket) {
    fcntl(socket, F_SETFL, fcntl(socket, F_GETFL) | O_NONBLOCK);
}
using Length = std::size_t;
#endif

int milliseconds_until(Deadline deadline) {
    const auto left = deadline - std::chrono::steady_clock::now();
    const auto count = std::chrono::ceil<std::chrono::milliseconds>(left).count();
    return static_cast<int>(std::clamp<long long>(count, 0, 1'000'000'000));
}

void set_flag(Socket socket, int level, int option) {
    const int on = 1;
    setsockopt(socket, level, option, reinterpret_cast<const char*>(&on), sizeof on);
}

}  // namespace

Connection::Connection(Socket socket) : socket_(socket) {
    never_block(socket_);  // a send of much would wait until all of it was taken
    set_flag(socket_, IPPROTO_TCP, TCP_NODELAY);
}

Connection::~Connection() {
    ::shutdown(socket_, stop_sending);
    const Deadline deadline = after(std::chrono::milliseconds(500));
    std::string dropped;
    while (read(dropped, 1 << 16, deadline) == Read::some) dropped.clear();
    close_socket(socket_);
}

bool Connection::wait(short events, Deadline deadline) const {
    for (;;) {
        pollfd one{socket_, events, 0};
        const int ready = poll_one(&one, milliseconds_until(deadline));
        if (ready > 0) return true;
        if (ready == 0 || !may_go_on()) return false;
    }
}

// Both ask the socket first and wait when it has nothing: mostly it has.
Connection::Read Connection::read(std::string& into, std::size_t most, Deadline deadline) {
    std::array<char, 1 << 14> bytes;
    const std::size_t size = std::min(most, bytes.size());
    while (std::chrono::steady_clock::now() < deadline) {
        const auto count = recv(socket_, bytes.data(), static_cast<Length>(size), 0);
        if (count > 0) {
            into.append(bytes.data(), static_cast<std::size_t>(count));
            return Read::some;
        }
        if (count == 0 || !may_go_on()) return Read::closed;
        if (!wait(POLLIN, deadline)) break;
    }
    return Read::late;
}

bool Connection::write(std::string_view bytes, Deadline deadline) {
    while (!bytes.empty()) {
        const auto count =
            send(socket_, bytes.data(), static_cast<Length>(bytes.size()), no_signal);
        if (count > 0) {
            bytes.remove_prefix(static_cast<std::size_t>(count));
        } else if (count == 0 || !may_go_on() || !wait(POLLOUT, deadline)) {
            return false;
        }
    }
    return true;
}

bool Connection::peer_is_there() const {
    pollfd one{socket_, POLLIN, 0};
    if (poll_one(&one, 0) <= 0) return true;
    char byte = 0;
    return recv(socket_, &byte, 1, MSG_PEEK) > 0;
}

void stop_reading(Socket socket) {
    ::shutdown(socket, stop_receiving);
}

void set_backlog(Socket listening, int backlog) {
    ::listen(listening, backlog);
}

void hold_address_alone(Socket listening) {
#ifdef _WIN32
    set_flag(listening, SOL_SOCKET, SO_EXCLUSIVEADDRUSE);
#else
    // Only for addresses of connections that have ended; a second listener is refused.
    set_flag(listening, SOL_SOCKET, SO_REUSEADDR);
#endif
}

}  // namespace zoodip
