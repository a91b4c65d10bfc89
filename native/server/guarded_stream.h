// Requests of one connection, each looked at by the guard before the HTTP library sees it.
#pragma once

#include <cstddef>
#include <httplib.h>
#include <string>

#include "server/connection.h"
#include "server/limits.h"
#include "server/request_head.h"

namespace zoodip {

// What the library reads is the plain head that the guard made; bodies never pass through it.
// Some of these functions exist in older versions of the library only, some in newer ones.
class GuardedStream : public httplib::Stream {
  public:
    GuardedStream(Connection& connection, const ServerLimits& limits)
        : connection_(connection), limits_(limits) {}

    // Waits for a request and reads its head; false when the peer sends none, or has gone. Throws
    // HttpError for a head that is not taken, with the connection good for nothing more then.
    bool next();
    const RequestHead& head() const { return head_; }
    // The whole body of content_length bytes. Throws HttpError 400 when the peer goes before its
    // end, 408 when it takes too long.
    std::string read_body();
    // Whether another request can follow: not behind a body that did not come whole, nor behind a
    // large one that nobody read, which is not worth its time.
    bool can_go_on() const;
    // Drops a body that nobody read, so that the next request follows; false where none can.
    bool drop_body();
    bool peer_is_there() const { return connection_.peer_is_there(); }

    ssize_t read(char* to, std::size_t size) override;
    ssize_t write(const char* from, std::size_t size) override;
    bool is_readable() const override { return plain_at_ < plain_.size(); }
    bool is_writable() const { return peer_is_there(); }
    bool wait_readable() const { return is_readable(); }
    bool wait_writable() const { return true; }
    bool is_peer_alive() const { return peer_is_there(); }
    void get_remote_ip_and_port(std::string&, int&) const override {}
    void get_local_ip_and_port(std::string&, int&) const override {}
    // Not the socket's own number: the library refuses those above a limit of select(), which is
    // not used here.
    socket_t socket() const override { return 0; }
    time_t duration() const { return 0; }

  private:
    Connection& connection_;
    const ServerLimits& limits_;
    RequestHead head_;
    std::string received_;  // and not yet used
    std::string plain_;     // what the library reads
    std::size_t plain_at_ = 0;
    std::size_t body_left_ = 0;
    bool cut_off_ = false;
};

}  // namespace zoodip
