// What the server takes, from everybody together and from each.
#pragma once

#include <chrono>
#include <cstddef>

namespace zoodip {

struct ServerLimits {
    std::size_t connections = 256;  // beyond: 503
    std::size_t streams = 200;      // of events, among the connections; beyond: 503
    std::size_t uploads = 4;        // bodies above `json` at a time; beyond: 503
    std::size_t requests = 1000;    // a connection

    // Bytes.
    std::size_t line = 8 << 10;   // the request line, and each header line
    std::size_t head = 16 << 10;  // all of them
    std::size_t headers = 64;
    std::size_t body = 64 << 20;
    std::size_t json = 1 << 20;
    std::size_t picture = 16 << 20;
    std::size_t pictures = 16;
    std::size_t subjects = 64;  // that are learned together
    std::size_t words = 8;      // of one job, beside its first

    std::chrono::milliseconds head_time{10'000};   // from a request's first byte
    std::chrono::milliseconds body_time{120'000};  // for the whole body
    std::chrono::milliseconds idle_time{15'000};   // between two requests of a connection
    std::chrono::milliseconds write_time{10'000};  // for a client to take what it is sent
    std::chrono::milliseconds heartbeat{15'000};   // of an event stream
};

}  // namespace zoodip
