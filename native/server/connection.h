// One accepted socket: every wait has an end.
#pragma once

#include <asio/ip/tcp.hpp>
#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>

namespace zoodip {

using Deadline = std::chrono::steady_clock::time_point;
inline Deadline after(std::chrono::milliseconds time) {
    return std::chrono::steady_clock::now() + time;
}

// Programs that this process starts do not inherit the socket, nor hold its port.
void keep_to_this_process(asio::ip::tcp::socket::native_handle_type socket);

class Connection {
  public:
    // socket: connected; its peer may have gone already.
    explicit Connection(asio::ip::tcp::socket socket);
    // Closes it so that the peer can still read what was sent last: a socket with unread input
    // would be reset. Waits for the peer at most half a second.
    ~Connection();
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;

    enum class Read { some, closed, late };
    // Appends what is there, at most `most` bytes; waits for the first byte.
    Read read(std::string& into, std::size_t most, Deadline deadline);
    // false when the peer is gone, or does not take it in time.
    bool write(std::string_view bytes, Deadline deadline);
    // Whether the peer is still there, without waiting. Bytes that it sent stay unread.
    bool peer_is_there();
    // Ends all waiting for more input; may be called from another thread while this lives.
    void stop_reading();

  private:
    bool wait(short events, Deadline deadline);

    asio::ip::tcp::socket socket_;
};

}  // namespace zoodip
