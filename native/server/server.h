// The HTTP server: sockets, threads and limits around the API.
#pragma once

#include <memory>
#include <string>

#include "jobs/jobs.h"
#include "server/limits.h"
#include "server/roots.h"

namespace zoodip {

constexpr int default_port = 8642;

struct ServerOptions {
    std::string host = "127.0.0.1";
    int port = default_port;  // 0: any that is free
    std::string token;        // needed beyond the loopback
    // A sentence for the message that the port is taken: how another is chosen here.
    std::string when_taken = "Choose another port";
    ServerLimits limits;
};

// Serves from its construction to its destruction.
class Server {
  public:
    // jobs and roots must outlive it. Throws Error when the address is taken, and for a host beyond
    // the loopback without a token.
    Server(Jobs& jobs, const Roots& roots, const ServerOptions& options);
    // Answers what it has begun to answer, ends event streams, closes every connection.
    ~Server();
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    int port() const;
    std::string url() const;  // "http://127.0.0.1:8642"

  private:
    class Listener;
    std::unique_ptr<Listener> listener_;
};

}  // namespace zoodip
