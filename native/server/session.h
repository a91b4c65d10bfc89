// HTTP/1.1 on one connection: requests one after another, each with its answer.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "server/api.h"
#include "server/connection.h"
#include "server/limits.h"
#include "server/request_head.h"

namespace zoodip {

class Session {
  public:
    // socket: connected. api and limits must outlive it.
    Session(asio::ip::tcp::socket socket, Api& api, const ServerLimits& limits)
        : connection_(std::move(socket)), api_(api), limits_(limits) {}

    // Until the peer has gone, is too slow or sends what is no request, or no more is taken.
    void serve();
    // The answer to one who came when every place was taken.
    void turn_away();
    // From another thread: the request that is being answered is the last, and streams are cut.
    void stop();

  private:
    bool receive(std::string& into, std::size_t most, Deadline deadline, const char* what,
                 std::chrono::milliseconds time);
    bool next();
    std::string read_body();
    bool can_go_on() const;
    bool drop_body();
    bool answer(bool last);
    bool send_events(EventStream stream);
    void refuse(const HttpError& error);
    bool write(std::string_view bytes);

    Connection connection_;
    Api& api_;
    const ServerLimits& limits_;
    std::atomic<bool> stopping_ = false;
    std::string received_;  // and not yet used
    RequestHead head_;
    std::size_t body_left_ = 0;
    bool cut_off_ = false;
};

}  // namespace zoodip
