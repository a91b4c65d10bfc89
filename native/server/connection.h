// One accepted socket: every wait has an end.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace zoodip {

#ifdef _WIN32
using Socket = unsigned long long;
#else
using Socket = int;
#endif

using Deadline = std::chrono::steady_clock::time_point;
inline Deadline after(std::chrono::milliseconds time) {
    return std::chrono::steady_clock::now() + time;
}

class Connection {
  public:
    // Takes the socket over.
    explicit Connection(Socket socket);
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
    bool peer_is_there() const;

  private:
    bool wait(short events, Deadline deadline) const;

    Socket socket_;
};

// Ends all waiting for more input; may be called from another thread while the connection lives.
void stop_reading(Socket socket);
// How many connections may wait to be accepted.
void set_backlog(Socket listening, int backlog);
// A listening socket that another process cannot share.
void hold_address_alone(Socket listening);

}  // namespace zoodip
