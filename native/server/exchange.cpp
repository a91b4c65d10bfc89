#include "server/exchange.h"

#include <utility>

#include "core/json.h"

namespace zoodip {

HttpResponse json_response(int status, const nlohmann::json& value, HttpHeaders headers) {
    return {status, "application/json", show_json(value) + "\n", std::move(headers), {}};
}

HttpResponse problem_response(const HttpError& error) {
    return {error.status(),
            "application/problem+json",
            problem_json(error) + "\n",
            error.headers(),
            {}};
}

}  // namespace zoodip
