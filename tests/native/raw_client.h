// A client that sends any bytes, and reads answers as a strict one would.
#pragma once

#include <arpa/inet.h>
#include <cerrno>
#include <cstring>
#include <map>
#include <netinet/in.h>
#include <optional>
#include <poll.h>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

#include "eventually.h"

#include "core/ascii.h"
#include "core/error.h"

namespace zoodip {

struct RawResponse {
    int status = 0;
    std::map<std::string, std::string> headers;  // names in lower case
    std::string body;
};

// Every wait ends with Error when `patience` is over.
class RawClient {
  public:
    explicit RawClient(int port)
        : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)), port_(port) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(static_cast<std::uint16_t>(port));
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        require(::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0,
                "cannot connect: ", std::strerror(errno));
    }
    RawClient(RawClient&& other) noexcept
        : socket_(std::exchange(other.socket_, -1)),
          port_(other.port_),
          received_(std::move(other.received_)) {}
    ~RawClient() {
        if (socket_ >= 0) ::close(socket_);
    }
    RawClient& operator=(RawClient&&) = delete;

    // What the server no longer takes is dropped, as a network does.
    void send(std::string_view bytes) {
        while (!bytes.empty()) {
            const ssize_t count = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (count <= 0) return;
            bytes.remove_prefix(static_cast<std::size_t>(count));
        }
    }
    void get(const std::string& path, const std::string& headers = "") {
        send(request("GET", path, headers));
    }
    std::string request(const std::string& method, const std::string& path,
                        const std::string& headers = "", const std::string& body = "") const {
        return concat(method, ' ', path, " HTTP/1.1\r\nHost: localhost:", port_, "\r\n", headers,
                      "\r\n", body);
    }
    std::string post(const std::string& path, const std::string& body,
                     const std::string& headers = "") const {
        return request("POST", path,
                       concat("Content-Type: application/json\r\nContent-Length: ", body.size(),
                              "\r\n", headers),
                       body);
    }

    // The next answer. head_only: it is one without a body, whatever its length.
    RawResponse response(bool head_only = false) {
        RawResponse out = response_head();
        if (head_only || out.status == 204 || out.status == 100) return out;
        if (out.headers.count("transfer-encoding") > 0) {
            while (const auto piece = chunk()) out.body += *piece;
        } else {
            out.body = take(std::stoul(out.headers.at("content-length")));
        }
        return out;
    }
    RawResponse response_head() {
        RawResponse out;
        const std::string status = line();
        require(status.starts_with("HTTP/1.1 "), "not an answer: ", status);
        out.status = std::stoi(status.substr(9));
        for (std::string one = line(); !one.empty(); one = line()) {
            const std::size_t colon = one.find(": ");
            require(colon != std::string::npos, "not a header: ", one);
            out.headers[lower_ascii(one.substr(0, colon))] = one.substr(colon + 2);
        }
        return out;
    }
    // The next chunk of a body; nothing after the last.
    std::optional<std::string> chunk() {
        const std::size_t size = std::stoul(line(), nullptr, 16);
        std::string piece = take(size);
        require(line().empty(), "a chunk does not end");
        if (size == 0) return std::nullopt;
        return piece;
    }
    // Whether the server closes the connection, with nothing more sent.
    bool ends() {
        while (receive()) continue;
        return received_.empty();
    }
    void stop_sending() { ::shutdown(socket_, SHUT_WR); }

  private:
    std::string line() {
        std::size_t end;
        while ((end = received_.find("\r\n")) == std::string::npos) {
            require(receive(), "the server closed within a line: ", received_);
        }
        std::string out = received_.substr(0, end);
        received_.erase(0, end + 2);
        return out;
    }
    std::string take(std::size_t size) {
        while (received_.size() < size) require(receive(), "the server closed within a body");
        std::string out = received_.substr(0, size);
        received_.erase(0, size);
        return out;
    }
    // false at the end.
    bool receive() {
        pollfd one{socket_, POLLIN, 0};
        const auto time = std::chrono::milliseconds(patience).count();
        require(::poll(&one, 1, static_cast<int>(time)) > 0, "the server sends nothing");
        char bytes[4096];
        const ssize_t count = ::recv(socket_, bytes, sizeof bytes, 0);
        if (count <= 0) return false;
        received_.append(bytes, static_cast<std::size_t>(count));
        return true;
    }

    int socket_;
    int port_;
    std::string received_;
};

}  // namespace zoodip
