// Refusals, as RFC 9457 describes them.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/error.h"

namespace zoodip {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

// Thrown from anywhere in the server, answered as application/problem+json. The message is the
// problem's detail: one sentence for the one who asked.
class HttpError : public Error {
  public:
    HttpError(int status, const std::string& detail, HttpHeaders headers = {})
        : Error(detail), status_(status), headers_(std::move(headers)) {}

    int status() const { return status_; }
    const HttpHeaders& headers() const { return headers_; }

  private:
    int status_;
    HttpHeaders headers_;
};

// "Not Found"
const char* title_of(int status);

// {"type": "about:blank", "title": ..., "status": ..., "detail": ...} in one line.
std::string problem_json(const HttpError& error);

}  // namespace zoodip
