#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include "python/bindings.h"
#include "service/service.h"
#include "service/train_runner.h"

namespace py = pybind11;

namespace zoodip {
namespace {

using WithoutGil = py::call_guard<py::gil_scoped_release>;
using Path = std::filesystem::path;

// A service that Python may close before it lets go of it. What it waits for at its end must not
// wait for the GIL.
class OwnedService {
  public:
    OwnedService(const ServiceOptions& options, const nlohmann::json& defaults)
        : service_(std::make_unique<Service>(options, std::make_shared<TrainRunner>(defaults))) {}
    ~OwnedService() {
        const py::gil_scoped_release release;
        service_.reset();
    }

    Service& open() const {
        require(service_ != nullptr, "the service is closed");
        return *service_;
    }
    void close() { service_.reset(); }

  private:
    std::unique_ptr<Service> service_;
};

std::unique_ptr<OwnedService> make_service(std::vector<Path> models, std::vector<Path> images,
                                           Path jobs, std::string host, int port, std::string token,
                                           std::string when_taken, const std::string& defaults) {
    if (!token.empty()) check_bearer_token(token, "token");
    ServiceOptions options;
    options.models = std::move(models);
    options.images = std::move(images);
    options.jobs = std::move(jobs);
    options.server.host = std::move(host);
    options.server.port = port;
    options.server.token = std::move(token);
    options.server.when_taken = std::move(when_taken);
    const nlohmann::json parsed = nlohmann::json::parse(defaults);
    const py::gil_scoped_release release;
    return std::make_unique<OwnedService>(options, parsed);
}

const char* name_of_wish(Wish wish) {
    return wish == Wish::none ? "" : wish == Wish::stop ? "stop" : "cancel";
}

JobState end_state(const std::string& name) {
    for (const JobState state :
         {JobState::finished, JobState::stopped, JobState::cancelled, JobState::failed}) {
        if (name == name_of(state)) return state;
    }
    fail("state: needs finished, stopped, cancelled or failed, got '", name, "'");
}

// A graph's training with the jobs that it is among, for as long as Python holds it.
struct EnteredTraining {
    std::shared_ptr<Jobs> jobs;
    std::unique_ptr<GraphTraining> training;
};

void bind_graph_training(py::module_& module) {
    py::class_<EnteredTraining>(module, "GraphTraining", "A graph's training among the jobs.")
        .def_property_readonly("id",
                               [](const EnteredTraining& self) { return self.training->id(); })
        .def(
            "wait",
            [](EnteredTraining& self, double seconds) {
                return self.training->wait(
                    std::chrono::milliseconds(static_cast<long>(1000 * seconds)));
            },
            py::arg("seconds"), WithoutGil(), "Whether its turn has come, waiting so long for it.")
        .def_property_readonly(
            "cancel_token",
            [](const EnteredTraining& self) { return self.training->cancel_token(); },
            "Set when it is asked to stop.")
        .def_property_readonly(
            "wish", [](const EnteredTraining& self) { return name_of_wish(self.training->wish()); },
            "\"stop\" (and keep), \"cancel\", or nothing.")
        .def(
            "on_stage",
            [](EnteredTraining& self, const std::string& stage) { self.training->on_stage(stage); },
            py::arg("stage"), WithoutGil())
        .def(
            "on_start",
            [](EnteredTraining& self, std::int64_t step, std::int64_t steps) {
                self.training->on_start(step, steps);
            },
            py::arg("step"), py::arg("steps"), WithoutGil())
        .def(
            "on_step",
            [](EnteredTraining& self, std::int64_t step, std::int64_t steps, double loss,
               double smooth_loss) { self.training->on_step(step, steps, loss, smooth_loss); },
            py::arg("step"), py::arg("steps"), py::arg("loss"), py::arg("smooth_loss"),
            WithoutGil())
        .def(
            "preview",
            [](EnteredTraining& self, std::int64_t step, const std::string& jpeg) {
                self.training->preview(step, jpeg);
            },
            py::arg("step"), py::arg("jpeg"), WithoutGil())
        .def(
            "end",
            [](EnteredTraining& self, const std::string& state, const std::string& message,
               const Path& token) { self.training->end(end_state(state), message, token); },
            py::arg("state"), py::arg("message"), py::arg("token"), WithoutGil());
}

}  // namespace

void bind_service(py::module_& module) {
    bind_graph_training(module);
    py::class_<OwnedService>(module, "Service", "See zoodip.service.")
        .def(py::init(&make_service), py::kw_only(), py::arg("models"), py::arg("images"),
             py::arg("jobs"), py::arg("host"), py::arg("port"), py::arg("token"),
             py::arg("when_taken"), py::arg("defaults"))
        .def_property_readonly("url",
                               [](const OwnedService& self) { return self.open().server().url(); })
        .def(
            "enter",
            [](OwnedService& self, const std::string& model, const std::string& word,
               const std::string& init, const std::string& settings, const std::string& device) {
                const std::shared_ptr<Jobs> jobs = self.open().jobs();
                return EnteredTraining{
                    jobs,
                    jobs->enter({model, "", word, init, nlohmann::json::parse(settings)}, device)};
            },
            py::kw_only(), py::arg("model"), py::arg("word"), py::arg("init"), py::arg("settings"),
            py::arg("device"), WithoutGil())
        .def("close", &OwnedService::close, WithoutGil());
}

}  // namespace zoodip
