#include "server/http_error.h"

#include <array>

#include <nlohmann/json.hpp>

#include "core/json.h"

namespace zoodip {
namespace {

struct Title {
    int status;
    const char* text;
};
// Those that this server sends (RFC 9110, 6585, 4918).
constexpr std::array<Title, 22> titles = {{{200, "OK"},
                                           {202, "Accepted"},
                                           {204, "No Content"},
                                           {400, "Bad Request"},
                                           {401, "Unauthorized"},
                                           {403, "Forbidden"},
                                           {404, "Not Found"},
                                           {405, "Method Not Allowed"},
                                           {408, "Request Timeout"},
                                           {409, "Conflict"},
                                           {411, "Length Required"},
                                           {413, "Content Too Large"},
                                           {414, "URI Too Long"},
                                           {415, "Unsupported Media Type"},
                                           {417, "Expectation Failed"},
                                           {422, "Unprocessable Content"},
                                           {429, "Too Many Requests"},
                                           {431, "Request Header Fields Too Large"},
                                           {500, "Internal Server Error"},
                                           {503, "Service Unavailable"},
                                           {505, "HTTP Version Not Supported"},
                                           {507, "Insufficient Storage"}}};

}  // namespace

const char* title_of(int status) {
    for (const Title& title : titles) {
        if (title.status == status) return title.text;
    }
    return "Unknown";
}

std::string problem_json(const HttpError& error) {
    return show_json({{"type", "about:blank"},
                      {"title", title_of(error.status())},
                      {"status", error.status()},
                      {"detail", error.what()}});
}

}  // namespace zoodip
