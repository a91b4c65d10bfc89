#include "server/server.h"

#include <atomic>
#include <httplib.h>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

#include "core/log.h"
#include "core/thread_name.h"
#include "server/api.h"
#include "server/connection.h"
#include "server/connection_threads.h"
#include "server/guarded_stream.h"

namespace zoodip {
namespace {

constexpr std::size_t events_at_a_time = 256;
// How soon a stream sees that its peer is gone.
constexpr std::chrono::milliseconds look_every{5000};

std::string status_line(int status) {
    return concat("HTTP/1.1 ", status, ' ', title_of(status), "\r\n");
}

// An answer to what the library never saw; the connection ends with it.
std::string plain_answer(const HttpError& error) {
    const HttpResponse response = problem_response(error);
    std::string out = status_line(response.status);
    for (const auto& [name, value] : response.headers) out += concat(name, ": ", value, "\r\n");
    return out + concat("Content-Type: ", response.content_type,
                        "\r\nContent-Length: ", response.body.size(),
                        "\r\nConnection: close\r\n\r\n", response.body);
}

std::string text_of(const JobEvent& event) {
    return concat("id: ", event.id, "\nevent: ", event.kind, "\ndata: ", event.data, "\n\n");
}

// Hands a job's events to the library, which asks again and again.
class EventWriter {
  public:
    EventWriter(EventStream stream, std::chrono::milliseconds heartbeat)
        : stream_(std::move(stream)), heartbeat_(heartbeat), beat_(after(heartbeat)) {}

    // false when the peer is gone.
    bool write_some(httplib::DataSink& sink) {
        const bool closed = stream_.log->closed();  // before it is read: none follows then
        const bool has_more = stream_.log->last() > stream_.after;
        const auto events = stream_.log->read(stream_.after, events_at_a_time);
        if (!events.empty()) return write(sink, events);
        if (has_more) return false;  // the file cannot be read: the peer may ask again
        if (closed) {
            sink.done();
            return true;
        }
        if (stream_.log->wait(stream_.after, look_every)) return true;
        // A comment, which keeps proxies and clients from giving up.
        return std::chrono::steady_clock::now() < beat_ || send(sink, ": \n\n");
    }

  private:
    bool write(httplib::DataSink& sink, const std::vector<JobEvent>& events) {
        std::string text;
        for (const JobEvent& event : events) text += text_of(event);
        stream_.after = events.back().id;
        return send(sink, text);
    }

    bool send(httplib::DataSink& sink, const std::string& text) {
        beat_ = after(heartbeat_);
        return sink.write(text.data(), text.size());
    }

    EventStream stream_;
    std::chrono::milliseconds heartbeat_;
    Deadline beat_;
};

}  // namespace

class Server::Listener : private httplib::Server {
  public:
    Listener(Jobs& jobs, const Roots& roots, const ServerOptions& options)
        : options_(options),
          limits_(options.limits),
          port_(bind(options)),
          api_(jobs, roots, {options.host, port_, options.token}, limits_) {
        set_keep_alive_max_count(limits_.requests);
        set_keep_alive_timeout(
            std::chrono::duration_cast<std::chrono::seconds>(limits_.idle_time).count());
        set_pre_routing_handler(
            [this](const httplib::Request& request, httplib::Response& response) {
                respond(request, response);
                return HandlerResponse::Handled;
            });
        set_post_routing_handler([](const httplib::Request&, httplib::Response& response) {
            if (stream_of_this_thread->can_go_on()) return;
            response.headers.erase("Keep-Alive");
            response.headers.erase("Connection");
            response.set_header("Connection", "close");
        });
        new_task_queue = [this] { return new ConnectionThreads(limits_.connections); };
        thread_ = std::thread([this] {
            name_this_thread("zoodip-accept");
            listen_after_bind();
        });
        while (!is_running()) std::this_thread::yield();  // or stop() would do nothing
    }

    ~Listener() override {
        stopping_ = true;
        {
            const std::lock_guard lock(mutex_);
            for (const Socket socket : open_) stop_reading(socket);
        }
        stop();
        thread_.join();
    }

    int port() const { return port_; }
    const ServerOptions& options() const { return options_; }

  private:
    int bind(const ServerOptions& options) {
        require(is_loopback(options.host) || !options.token.empty(), "host: ", options.host,
                " can be reached from other machines, so the server needs a token (`token_file`)");
        set_socket_options([](socket_t socket) { hold_address_alone(socket); });
        const int port = options.port > 0
                             ? (bind_to_port(options.host, options.port) ? options.port : -1)
                             : bind_to_any_port(options.host);
        require(port > 0, "cannot listen on ", options.host, " port ", options.port,
                ": another program does, or the address is not this machine's. ",
                options.when_taken);
        set_backlog(svr_sock_, static_cast<int>(options.limits.connections));
        return port;
    }

    // --- one connection, in a thread of its own ---

    bool process_and_close_socket(socket_t socket) override {
        Connection connection(socket);
        const Registered registered(*this, socket);
        try {
            serve(connection);
        } catch (const HttpError& error) {
            connection.write(plain_answer(error), after(limits_.write_time));
        } catch (const std::exception& error) {
            log_warning("server: a connection ended: ", error.what());
        }
        return true;
    }

    void serve(Connection& connection) {
        if (ConnectionThreads::is_beyond()) {
            throw HttpError(
                503, concat("at most ", limits_.connections, " connections are served at a time"),
                {{"Retry-After", "1"}});
        }
        GuardedStream stream(connection, limits_);
        for (std::size_t i = 1; i <= limits_.requests && !stopping_ && stream.next(); ++i) {
            stream_of_this_thread = &stream;
            const bool last = i == limits_.requests || !stream.head().keep_alive;
            bool closed = false;
            if (!process(*this, stream, last, closed) || last || closed) return;
            if (!stream.drop_body()) return;
        }
    }

    // The library's versions ask for the peer's address, or do not.
    template <class Self>
    static bool process(Self& self, httplib::Stream& stream, bool last, bool& closed) {
        if constexpr (requires { self.process_request(stream, last, closed, nullptr); }) {
            return self.process_request(stream, last, closed, nullptr);
        } else {
            return self.process_request(stream, "", 0, "", 0, last, closed, nullptr);
        }
    }

    void respond(const httplib::Request& request, httplib::Response& response) {
        GuardedStream& stream = *stream_of_this_thread;
        const HttpResponse answer =
            api_.answer({stream.head(), [&stream] { return stream.read_body(); }});
        response.status = answer.status;
        response.set_header("Cache-Control", "no-store");
        response.set_header("X-Content-Type-Options", "nosniff");
        // Or the library promises ranges where HEAD asks.
        if (request.method == "HEAD") response.set_header("Accept-Ranges", "none");
        for (const auto& [name, value] : answer.headers) response.set_header(name.c_str(), value);
        if (!answer.events) {
            if (answer.status != 204)
                response.set_content(answer.body, answer.content_type.c_str());
            return;
        }
        if (request.method == "HEAD") {
            response.set_header("Content-Type", answer.content_type);
            return;
        }
        const auto writer = std::make_shared<EventWriter>(*answer.events, limits_.heartbeat);
        response.set_chunked_content_provider(
            answer.content_type.c_str(), [this, writer, &stream](std::size_t, auto& sink) {
                return !stopping_ && stream.peer_is_there() && writer->write_some(sink);
            });
    }

    // Known to the destructor while it is served.
    class Registered {
      public:
        Registered(Listener& listener, Socket socket) : listener_(listener), socket_(socket) {
            const std::lock_guard lock(listener_.mutex_);
            listener_.open_.insert(socket);
            if (listener_.stopping_) stop_reading(socket);
        }
        ~Registered() {
            const std::lock_guard lock(listener_.mutex_);
            listener_.open_.erase(socket_);
        }
        Registered(const Registered&) = delete;
        Registered& operator=(const Registered&) = delete;

      private:
        Listener& listener_;
        Socket socket_;
    };

    // The library hands over a request without its connection.
    static thread_local GuardedStream* stream_of_this_thread;

    const ServerOptions options_;
    const ServerLimits limits_;
    const int port_;
    Api api_;
    std::atomic<bool> stopping_ = false;
    std::mutex mutex_;
    std::set<Socket> open_;
    std::thread thread_;
};

thread_local GuardedStream* Server::Listener::stream_of_this_thread = nullptr;

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
