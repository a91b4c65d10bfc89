#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>
#include <torch/csrc/utils/pybind.h>

#include "python/bindings.h"
#include "python/guard.h"
#include "service/graph_learning.h"
#include "service/service.h"
#include "service/train_runner.h"

#include "core/json.h"

namespace py = pybind11;

namespace zoodip {
namespace {

using WithoutGil = py::call_guard<py::gil_scoped_release>;
using Path = std::filesystem::path;

// --- a graph's training ---

// The program of the graph, as an object with the methods of GraphHost.
class PythonHost : public GraphHost {
  public:
    // interruption: the type of what ends a prompt without being an error.
    PythonHost(py::object host, py::object interruption)
        : host_(std::move(host)),
          interruption_(std::move(interruption)),
          share_(host_.attr("preview_share").cast<double>()),
          inference_(c10::InferenceMode::is_enabled()) {}

    void free_memory(std::uint64_t bytes) override {
        as_outside([&] { host_.attr("free_memory")(bytes); });
    }
    SelfCheck expected() override {
        SelfCheck check;
        as_outside([&] { check = host_.attr("expected")().cast<SelfCheck>(); });
        return check;
    }
    void park() override {
        as_outside([&] { host_.attr("park")(); });
    }
    void on_step(std::int64_t step, std::int64_t steps) override {
        call([&] { host_.attr("on_step")(step, steps); });
    }
    double preview_share() const override { return share_; }
    std::string draw(std::int64_t step, const at::Tensor& latents) override {
        std::string jpeg;
        call([&] {
            const py::object drawn = host_.attr("draw")(step, latents);
            if (!drawn.is_none()) jpeg = drawn.cast<std::string>();
        });
        return jpeg;
    }

    // What was raised in a call goes before what the engine made of it.
    void raise() const {
        if (raised_) std::rethrow_exception(raised_);
    }

  private:
    // The program's own models compute in the mode that it called in.
    template <class Work>
    void as_outside(Work&& work) {
        const c10::InferenceMode mode(inference_);
        call(work);
    }

    template <class Work>
    void call(Work&& work) {
        const py::gil_scoped_acquire gil;
        try {
            if (PyErr_CheckSignals() != 0) throw py::error_already_set();
            work();
        } catch (py::error_already_set& error) {
            raised_ = std::current_exception();
            if (error.matches(interruption_) || error.matches(PyExc_KeyboardInterrupt)) {
                throw Cancelled();
            }
            throw Error(py::str(error.value()).cast<std::string>());
        }
    }

    py::object host_, interruption_;
    double share_;
    bool inference_;
    std::exception_ptr raised_;
};

JobState end_state(const std::string& name) {
    for (const JobState state : {JobState::interrupted, JobState::failed}) {
        if (name == name_of(state)) return state;
    }
    fail("state: needs interrupted or failed, got '", name, "'");
}

// A graph's job with the jobs that it is among, for as long as Python holds it.
struct OwnedGraphJob {
    std::shared_ptr<Jobs> jobs;
    std::unique_ptr<GraphJob> job;

    ~OwnedGraphJob() {
        const py::gil_scoped_release release;
        job.reset();
        jobs.reset();
    }
};

// Of each request what its job, of the same place in the list, learned.
py::list learn_in_graph(const std::vector<OwnedGraphJob*>& graph_jobs,
                        const std::vector<GraphRequest>& requests, const std::string& weights,
                        const py::object& host, const py::object& interruption) {
    PythonHost asked(host, interruption);
    std::vector<GraphSubject> subjects;
    for (std::size_t i = 0; i < requests.size(); ++i) {
        subjects.push_back({graph_jobs.at(i)->job.get(), requests[i]});
    }
    std::vector<GraphLearned> all;
    try {
        all = run_engine(
            [&] { return learn(*graph_jobs.at(0)->jobs, std::move(subjects), weights, asked); });
    } catch (const std::exception&) {
        asked.raise();
        throw;
    }
    using namespace pybind11::literals;
    py::list out;
    for (const GraphLearned& learned : all) {
        out.append(py::dict("token"_a = learned.token, "also"_a = learned.also,
                            "losses"_a = learned.losses, "steps"_a = learned.steps,
                            "finished"_a = learned.finished));
    }
    return out;
}

void bind_graph_job(py::module_& module) {
    py::class_<OwnedGraphJob>(module, "GraphJob", "See zoodip.service.Service.begin.")
        .def_property_readonly("id", [](const OwnedGraphJob& self) { return self.job->job().id; })
        .def(
            "cancel", [](const OwnedGraphJob& self) { self.job->cancel_token().cancel(); },
            "Interrupts it, from any thread; what was learned is kept.")
        .def(
            "on_stage",
            [](OwnedGraphJob& self, const std::string& stage) { self.job->on_stage(stage); },
            py::arg("stage"), WithoutGil())
        .def(
            "end",
            [](OwnedGraphJob& self, const std::string& state, const std::string& message) {
                self.job->end(end_state(state), message);
            },
            py::arg("state"), py::arg("message"), WithoutGil(),
            "Ends it as \"failed\" or \"interrupted\", unless it has ended.");
    module.def("learn_in_graph", &learn_in_graph, py::arg("jobs"), py::arg("requests"),
               py::kw_only(), py::arg("weights"), py::arg("host"), py::arg("interruption"),
               "See zoodip.graph.learn.");
}

// --- the service ---

// A service that Python may close while other threads ask it: what they hold lives on. What it
// waits for at its end must not wait for the GIL.
class OwnedService {
  public:
    OwnedService(const ServiceOptions& options, const nlohmann::json& defaults)
        : service_(std::make_shared<Service>(options, std::make_shared<TrainRunner>(defaults))) {}
    ~OwnedService() {
        const py::gil_scoped_release release;
        close();
    }

    std::shared_ptr<Service> open() const {
        const std::lock_guard lock(mutex_);
        require(service_ != nullptr, "the service is closed");
        return service_;
    }
    void close() {
        std::shared_ptr<Service> closed;
        {
            const std::lock_guard lock(mutex_);
            closed.swap(service_);
        }
        if (closed != nullptr) closed->end();
    }

  private:
    mutable std::mutex mutex_;
    std::shared_ptr<Service> service_;
};

std::unique_ptr<OwnedService> make_service(std::vector<Path> models, std::vector<Path> images,
                                           Path jobs, bool shared, std::size_t kept, int kept_days,
                                           std::uint64_t kept_mb, const std::string& defaults) {
    ServiceOptions options;
    options.models = std::move(models);
    options.images = std::move(images);
    options.jobs = std::move(jobs);
    options.sharing = shared ? JobFolders::Sharing::shared : JobFolders::Sharing::alone;
    options.limits.kept = kept;
    options.limits.kept_for = std::chrono::hours(24) * kept_days;
    options.limits.kept_bytes = kept_mb << 20;
    const nlohmann::json parsed = nlohmann::json::parse(defaults);
    const py::gil_scoped_release release;
    return std::make_unique<OwnedService>(options, parsed);
}

// Called with JSON, from any thread.
void listen(const OwnedService& self, const py::object& listener) {
    // The last copy may be dropped by a thread that does not hold the GIL.
    const std::shared_ptr<py::object> held(new py::object(listener), [](py::object* object) {
        const py::gil_scoped_acquire gil;
        delete object;
    });
    const py::gil_scoped_release release;
    self.open()->jobs()->listen([held](const nlohmann::json& view) {
        const std::string text = show_json(view);
        const py::gil_scoped_acquire gil;
        try {
            (*held)(text);
        } catch (py::error_already_set& error) {
            // A page that cannot be reached must not end a training.
            error.discard_as_unraisable("zoodip: a listener");
        }
    });
}

// What a request asked for over another program's server, with its answer.
struct MountedAnswer {
    HttpResponse response;
};

MountedAnswer answer(const OwnedService& self, const std::string& method, const std::string& target,
                     const std::vector<std::pair<std::string, std::string>>& headers,
                     const std::string& body) {
    HttpRequest request;
    request.head.method = method;
    request.head.target = target;
    request.head.headers = headers;
    request.head.content_length = body.size();
    request.read_body = [&body] { return body; };
    return {self.open()->mounted().answer(request)};
}

void bind_answer(py::module_& module) {
    py::class_<MountedAnswer>(module, "Answer", "What the API answers.")
        .def_property_readonly("status",
                               [](const MountedAnswer& self) { return self.response.status; })
        .def_property_readonly("content_type",
                               [](const MountedAnswer& self) { return self.response.content_type; })
        .def_property_readonly("headers",
                               [](const MountedAnswer& self) { return self.response.headers; })
        .def_property_readonly(
            "body", [](const MountedAnswer& self) { return py::bytes(self.response.body); })
        .def_property_readonly(
            "is_stream", [](const MountedAnswer& self) { return self.response.events.has_value(); },
            "Whether `next_events` gives the body.")
        .def(
            "next_events", [](MountedAnswer& self) { return next_events(*self.response.events); },
            WithoutGil(),
            "What came since, \"\" while nothing has, None once no more will. Does not wait.");
}

}  // namespace

void bind_service(py::module_& module) {
    bind_graph_job(module);
    bind_answer(module);
    py::class_<OwnedService>(module, "Service", "See zoodip.service.")
        .def(py::init(&make_service), py::kw_only(), py::arg("models"), py::arg("images"),
             py::arg("jobs"), py::arg("shared"), py::arg("kept"), py::arg("kept_days"),
             py::arg("kept_mb"), py::arg("defaults"))
        .def(
            "serve",
            [](const OwnedService& self, const std::string& host, int port,
               const std::string& token, const std::string& when_taken) {
                if (!token.empty()) check_bearer_token(token, "token");
                ServerOptions options;
                options.host = host;
                options.port = port;
                options.token = token;
                options.when_taken = when_taken;
                self.open()->serve(options);
            },
            py::kw_only(), py::arg("host"), py::arg("port"), py::arg("token"),
            py::arg("when_taken"), WithoutGil())
        .def(
            "stop_serving", [](const OwnedService& self) { self.open()->stop_serving(); },
            WithoutGil())
        .def_property_readonly(
            "url",
            [](const OwnedService& self) -> std::optional<std::string> {
                const auto service = self.open();
                const Server* server = service->server();
                return server == nullptr ? std::nullopt : std::optional(server->url());
            },
            "Nothing where it serves no address of its own.")
        .def("answer", &answer, py::arg("method"), py::arg("target"), py::arg("headers"),
             py::arg("body"), WithoutGil())
        .def("listen", &listen, py::arg("listener"))
        .def(
            "begin",
            [](const OwnedService& self, const std::string& node, const std::string& workflow,
               const std::string& prompt, const std::string& word, std::int64_t steps) {
                const std::shared_ptr<Jobs> jobs = self.open()->jobs();
                return std::make_unique<OwnedGraphJob>(
                    jobs, jobs->begin({node, workflow, prompt, 0}, word, steps));
            },
            py::kw_only(), py::arg("node"), py::arg("workflow"), py::arg("prompt"), py::arg("word"),
            py::arg("steps"), WithoutGil())
        .def(
            "shown_at",
            [](const OwnedService& self, const std::string& workflow, const std::string& node) {
                const auto job = self.open()->jobs()->shown_at(workflow, node);
                return job ? std::optional(job->id) : std::nullopt;
            },
            py::arg("workflow"), py::arg("node"), WithoutGil())
        .def(
            "stop_graphs",
            [](const OwnedService& self, double seconds) {
                return self.open()->jobs()->stop_graphs(
                    std::chrono::milliseconds(static_cast<long>(1000 * seconds)));
            },
            py::arg("seconds"), WithoutGil())
        .def("close", &OwnedService::close, WithoutGil());
}

}  // namespace zoodip
