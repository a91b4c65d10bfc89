#include "server/server.h"

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/ip/v6_only.hpp>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "core/log.h"
#include "core/thread_name.h"
#include "server/api.h"
#include "server/session.h"

namespace zoodip {
namespace {

using asio::ip::tcp;

constexpr std::size_t turning_away = 8;  // threads beyond the places, which say that all are taken
constexpr std::chrono::milliseconds until_next_try{100};  // when nothing can be accepted

// A listening socket that another process cannot share, or one that is not open.
tcp::acceptor listen_on(asio::io_context& context, const tcp::endpoint& endpoint, int backlog) {
    tcp::acceptor acceptor(context);
    try {
        acceptor.open(endpoint.protocol());
        keep_to_this_process(acceptor.native_handle());
#ifdef _WIN32
        const int on = 1;
        setsockopt(acceptor.native_handle(), SOL_SOCKET, SO_EXCLUSIVEADDRUSE,
                   reinterpret_cast<const char*>(&on), sizeof on);
#else
        // Only for addresses of connections that have ended; a second listener is refused.
        acceptor.set_option(tcp::acceptor::reuse_address(true));
#endif
        if (endpoint.address().is_v6()) acceptor.set_option(asio::ip::v6_only(false));
        acceptor.bind(endpoint);
        acceptor.listen(backlog);
    } catch (const asio::system_error&) {
        acceptor.close();
    }
    return acceptor;
}

tcp::acceptor listen_on(asio::io_context& context, const ServerOptions& options) {
    require(is_loopback(options.host) || !options.token.empty(), "host: ", options.host,
            " can be reached from other machines, so the server needs a token (`token_file`)");
    asio::error_code unknown;  // no endpoints are found then
    for (const auto& found : tcp::resolver(context).resolve(
             options.host, std::to_string(options.port), tcp::resolver::passive, unknown)) {
        tcp::acceptor acceptor =
            listen_on(context, found.endpoint(), static_cast<int>(options.limits.connections));
        if (acceptor.is_open()) return acceptor;
    }
    throw Error(concat("cannot listen on ", options.host, " port ", options.port,
                       ": another program does, or the address is not this machine's. ",
                       options.when_taken));
}

}  // namespace

// One thread accepts. Each connection has one of the others: an event stream holds it for hours, so
// that a pool of a fixed small size would be full of them.
class Server::Listener {
  public:
    Listener(Jobs& jobs, const Roots& roots, const ServerOptions& options)
        : options_(options),
          acceptor_(listen_on(accepting_, options)),
          port_(acceptor_.local_endpoint().port()),
          api_(jobs, roots, {options.host, port_, options.token}, options.limits) {
        accept();
        thread_ = std::thread([this] {
            name_this_thread("zoodip-accept");
            accepting_.run();
        });
    }

    ~Listener() {
        {
            const std::lock_guard lock(mutex_);
            stopping_ = true;
            for (Session* session : sessions_) session->stop();
        }
        room_.notify_all();
        arrived_.notify_all();
        accepting_.stop();
        thread_.join();
        acceptor_.close();
        for (std::thread& worker : workers_) worker.join();
    }

    int port() const { return port_; }
    const ServerOptions& options() const { return options_; }

  private:
    struct Arrival {
        tcp::socket socket;
        bool beyond;  // it came when every place was taken
    };

    void accept() {
        acceptor_.async_accept(sockets_, [this](asio::error_code error, tcp::socket socket) {
            try {
                if (error) throw asio::system_error(error);
                serve(std::move(socket));
            } catch (const std::exception& failure) {  // no files, threads or memory are left
                log_warning("server: a connection cannot be taken: ", failure.what());
                std::this_thread::sleep_for(until_next_try);
            }
            accept();
        });
    }

    // Whether every place is taken is decided in the order in which connections come, which that of
    // the threads need not be. With too many to turn away as well, the next ones wait in the
    // system's queue.
    void serve(tcp::socket socket) {
        const std::size_t places = options_.limits.connections;
        std::unique_lock lock(mutex_);
        room_.wait(lock, [&] { return stopping_ || arrivals_.size() < turning_away; });
        if (arrivals_.size() >= idle_ && workers_.size() < places + turning_away) {
            workers_.emplace_back([this] { work(); });
        }
        const bool beyond = taken_ >= places;
        if (!beyond) ++taken_;
        arrivals_.push_back({std::move(socket), beyond});
        arrived_.notify_one();
    }

    void work() {
        name_this_thread("zoodip-http");
        std::unique_lock lock(mutex_);
        for (;;) {
            ++idle_;
            arrived_.wait(lock, [&] { return stopping_ || !arrivals_.empty(); });
            --idle_;
            if (stopping_) return;
            Arrival arrival = std::move(arrivals_.front());
            arrivals_.pop_front();
            room_.notify_one();
            lock.unlock();
            run(arrival);
            lock.lock();
            if (!arrival.beyond) --taken_;
        }
    }

    void run(Arrival& arrival) {
        Session session(std::move(arrival.socket), api_, options_.limits);
        {
            const std::lock_guard lock(mutex_);
            sessions_.insert(&session);
            if (stopping_) session.stop();
        }
        try {
            arrival.beyond ? session.turn_away() : session.serve();
        } catch (const std::exception& error) {
            log_warning("server: a connection ended: ", error.what());
        }
        const std::lock_guard lock(mutex_);
        sessions_.erase(&session);
    }

    const ServerOptions options_;
    // Sockets of connections belong to a context that nobody runs: their own threads wait for them.
    asio::io_context accepting_, sockets_;
    tcp::acceptor acceptor_;
    const int port_;
    Api api_;
    std::mutex mutex_;
    std::condition_variable arrived_, room_;
    std::deque<Arrival> arrivals_;
    std::vector<std::thread> workers_;  // those that are made stay until the end
    std::set<Session*> sessions_;       // while the destructor may stop them
    std::size_t idle_ = 0, taken_ = 0;  // workers, places
    bool stopping_ = false;
    std::thread thread_;
};

Server::Server(Jobs& jobs, const Roots& roots, const ServerOptions& options)
    : listener_(std::make_unique<Listener>(jobs, roots, options)) {}

Server::~Server() = default;

int Server::port() const {
    return listener_->port();
}

std::string Server::url() const {
    const std::string& host = listener_->options().host;
    const bool v6 = host.find(':') != std::string::npos;
    return concat("http://", v6 ? "[" : "", host, v6 ? "]" : "", ':', port());
}

}  // namespace zoodip
