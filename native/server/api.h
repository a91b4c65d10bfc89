// The API: what each request does with the jobs.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "jobs/jobs.h"
#include "server/access.h"
#include "server/exchange.h"
#include "server/limits.h"
#include "server/roots.h"

namespace zoodip {

class Api {
  public:
    // jobs and roots must outlive it.
    Api(Jobs& jobs, const Roots& roots, Access access, const ServerLimits& limits)
        : jobs_(jobs), roots_(roots), access_(std::move(access)), limits_(limits) {}

    // From any thread. Never throws: what is refused, or breaks, is a problem's response.
    HttpResponse answer(const HttpRequest& request);

  private:
    using Segments = std::vector<std::string>;
    using Handler = HttpResponse (Api::*)(const HttpRequest&, const Segments&);
    struct Route {
        const char* method;
        const char* path;  // "*" stands for one segment, which is handed over
        Handler handler;
    };
    static const std::vector<Route>& routes();

    HttpResponse dispatch(const HttpRequest& request);
    HttpResponse health(const HttpRequest&, const Segments&);
    HttpResponse models(const HttpRequest&, const Segments&);
    HttpResponse settings(const HttpRequest&, const Segments&);
    HttpResponse openapi(const HttpRequest&, const Segments&);
    HttpResponse submit(const HttpRequest& request, const Segments&);
    HttpResponse submit_together(const HttpRequest& request, const Segments&);
    HttpResponse extend(const HttpRequest& request, const Segments& ids);
    HttpResponse list(const HttpRequest& request, const Segments&);
    HttpResponse job(const HttpRequest&, const Segments& ids);
    HttpResponse stop(const HttpRequest&, const Segments& ids);
    HttpResponse cancel(const HttpRequest&, const Segments& ids);
    HttpResponse remove(const HttpRequest&, const Segments& ids);
    HttpResponse events(const HttpRequest& request, const Segments& ids);
    HttpResponse curve(const HttpRequest&, const Segments& ids);
    HttpResponse show(const HttpRequest& request, const Segments& ids);
    HttpResponse store(const HttpRequest&, const Segments&);
    HttpResponse set_store(const HttpRequest& request, const Segments&);
    HttpResponse clear_store(const HttpRequest&, const Segments&);
    HttpResponse token(const HttpRequest&, const Segments& ids);
    HttpResponse preview(const HttpRequest&, const Segments& ids);

    nlohmann::json view(const Job& job) const;
    nlohmann::json read_members(const HttpRequest& request,
                                std::initializer_list<const char*> names) const;
    HttpResponse accepted(const Job& job) const;
    JobTask files_of(const JobRequest& request) const;
    std::string read_json(const HttpRequest& request) const;
    std::string without_places(const std::string& message) const;
    Job found(const std::string& id) const;

    Jobs& jobs_;
    const Roots& roots_;
    const Access access_;
    const ServerLimits limits_;
    std::mutex
        looking_;  // at sent pictures, one at a time: that is what their memory is bounded by
    // Shared with what they count, which may live longer than a request.
    std::shared_ptr<std::atomic<std::size_t>> streams_ =
        std::make_shared<std::atomic<std::size_t>>(0);
    std::shared_ptr<std::atomic<std::size_t>> uploads_ =
        std::make_shared<std::atomic<std::size_t>>(0);
};

}  // namespace zoodip
