// Engine, jobs and server, plugged together: what both edges start.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "jobs/jobs.h"
#include "server/api.h"
#include "server/server.h"

namespace zoodip {

struct ServiceOptions {
    std::vector<std::filesystem::path> models, images;  // roots of names
    std::filesystem::path jobs;                         // folder; made if it is missing
    JobLimits limits;
    JobFolders::Sharing sharing = JobFolders::Sharing::alone;
};

// The bearer token in a file: its first line, of at least 16 visible ASCII characters. Throws
// Error.
std::string read_bearer_token(const std::filesystem::path& file);
// Throws Error unless it is fit to be one.
void check_bearer_token(const std::string& token, const std::string& source);

class Service {
  public:
    // Throws Error.
    Service(const ServiceOptions& options, std::shared_ptr<Runner> runner);
    ~Service();
    // The running job is stopped with its state kept; the next service on the folder goes on.
    // Called by the destructor too.
    void end();

    // What begins a graph's job holds the jobs, which may outlive the service then.
    const std::shared_ptr<Jobs>& jobs() const { return jobs_; }
    // What another program's server hands over, which has looked at who asks.
    Api& mounted() { return mounted_; }

    // A server of its own, for scripts. Throws Error.
    void serve(const ServerOptions& options);
    void stop_serving();
    const Server* server() const { return server_.get(); }  // null: none

  private:
    Roots roots_;
    std::shared_ptr<Jobs> jobs_;
    Api mounted_;
    std::unique_ptr<Server> server_;
};

}  // namespace zoodip
