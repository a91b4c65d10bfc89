#include "service/service.h"

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "io/atomic_file.h"

namespace zoodip {

void check_bearer_token(const std::string& token, const std::string& source) {
    const auto is_visible = [](char c) { return c > ' ' && c < 0x7F; };
    require(token.size() >= 16 && token.size() <= 1024 &&
                std::all_of(token.begin(), token.end(), is_visible),
            source, ": a token needs 16 to 1024 visible ASCII characters, in one line");
}

std::string read_bearer_token(const std::filesystem::path& file) {
    const auto bytes = read_file(file, 1 << 16);
    std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    text.erase(std::min(text.find_first_of("\r\n"), text.size()));
    check_bearer_token(text, file.string());
    return text;
}

Service::Service(const ServiceOptions& options, std::shared_ptr<Runner> runner)
    : roots_(options.models, options.images),
      jobs_(
          std::make_shared<Jobs>(options.jobs, std::move(runner), options.limits, options.sharing)),
      mounted_(*jobs_, roots_, {.host = {}, .port = 0, .token = {}, .open = true}, {}) {}

void Service::serve(const ServerOptions& options) {
    server_ = std::make_unique<Server>(*jobs_, roots_, options);
}

void Service::stop_serving() {
    server_.reset();
}

Service::~Service() {
    end();
}

// The jobs first: that ends the event streams, with their last events sent.
void Service::end() {
    jobs_->shutdown();
    server_.reset();
}

}  // namespace zoodip
