// Who may ask: not a web page that the user happens to visit.
#pragma once

#include <cstdint>
#include <string>

#include "server/request_head.h"

namespace zoodip {

struct Access {
    std::string host;  // what the server was told to listen on
    int port = 0;
    std::string token;  // empty: none is asked for
    bool open = false;  // mounted on another program's server, which has looked at who asks
};

// Throws HttpError: 403 for a Host that is not this server (a name that was rebound to the loopback
// address), for an Origin and a Sec-Fetch-Site of another site; 401 without the token. The token is
// compared in a time that does not depend on where it differs.
void check_access(const RequestHead& head, const Access& access);

// 127.0.0.1, ::1, localhost and the like.
bool is_loopback(const std::string& host);

}  // namespace zoodip
