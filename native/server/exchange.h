// A request and its answer, without sockets: what the API is written against.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "jobs/event_log.h"
#include "server/http_error.h"
#include "server/request_head.h"

namespace zoodip {

struct HttpRequest {
    RequestHead head;
    // Reads the whole body, of content_length bytes; once. Throws HttpError.
    std::function<std::string()> read_body;

    // The target without its query.
    std::string path() const { return head.target.substr(0, head.target.find('?')); }
    // The value of a name in the query, decoded; nothing without it.
    std::optional<std::string> query(std::string_view name) const;
};

// The events of a job behind number `after`, for as long as they come.
struct EventStream {
    std::shared_ptr<EventLog> log;
    std::uint64_t after = 0;
    std::shared_ptr<void> place;  // among the streams that are served at a time
};

struct HttpResponse {
    int status = 200;
    std::string content_type = "application/json";
    std::string body;
    HttpHeaders headers;
    std::optional<EventStream> events;  // instead of a body
};

// What came since, as text of server-sent events: empty while nothing has, nothing once no more
// will.
std::optional<std::string> next_events(EventStream& stream);

HttpResponse json_response(int status, const nlohmann::json& value, HttpHeaders headers = {});
HttpResponse problem_response(const HttpError& error);

}  // namespace zoodip
