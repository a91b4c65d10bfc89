// A server on a port that is free, whose limits a test makes smaller.
#pragma once

#include <memory>

#include "api_fixture.h"
#include "raw_client.h"

#include "server/server.h"

namespace zoodip {

class ServerFixture : public ApiFixture {
  protected:
    // On a slow machine nothing is too slow, unless a test makes it so.
    ServerFixture() {
        const std::chrono::minutes long_time{10};
        limits.head_time = limits.body_time = limits.idle_time = limits.write_time = long_time;
        limits.heartbeat = long_time;
    }
    RawClient connect() {
        if (server == nullptr) start();
        return RawClient(server->port());
    }
    void start() {
        server = std::make_unique<Server>(jobs, roots, ServerOptions{.port = 0, .limits = limits});
    }

    ServerLimits limits;
    std::unique_ptr<Server> server;
};

}  // namespace zoodip
