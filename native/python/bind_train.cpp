#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>
#include <torch/csrc/utils/pybind.h>

#include "python/bindings.h"
#include "python/callbacks.h"
#include "python/guard.h"

#include "core/log.h"
#include "io/picture.h"
#include "objective/render.h"
#include "ops/plain_message.h"
#include "reports/inspect.h"
#include "reports/quant_report.h"
#include "settings/settings.h"
#include "train/personalize.h"
#include "words/token_file.h"

namespace py = pybind11;

namespace zoodip {
namespace {

// {"token": ..., ...} as for one, or {"failure": why, "cancelled": whether it was stopped before
// its first step}.
py::dict to_python(const Ending& ending) {
    using namespace py::literals;
    if (ending.result) return to_python(*ending.result);
    try {
        std::rethrow_exception(ending.failure);
    } catch (const Cancelled& cancelled) {
        return py::dict("failure"_a = cancelled.what(), "cancelled"_a = true);
    } catch (const std::exception& error) {
        return py::dict("failure"_a = plain_message(error), "cancelled"_a = false);
    }
}

// on_events: of each request, called with JSON.
py::list personalize_together(const std::vector<PersonalizeRequest>& requests,
                              const py::object& on_stage, const std::vector<py::object>& on_events,
                              const CancelToken& cancel) {
    Callbacks callbacks(cancel);
    std::vector<std::unique_ptr<PythonObserver>> observers;
    std::vector<Subject<PersonalizeRequest>> subjects;
    for (std::size_t i = 0; i < requests.size(); ++i) {
        const py::object stages = i == 0 ? on_stage : py::none();  // which all of them share
        observers.push_back(std::make_unique<PythonObserver>(
            PythonHooks{stages, py::none(), py::none(), on_events.at(i)}, callbacks));
        subjects.push_back({requests[i], observers.back().get(), cancel});
    }
    py::list results;
    for (const Ending& ending : run_with(callbacks, [&] { return personalize(subjects); })) {
        results.append(to_python(ending));
    }
    return results;
}

void bind_personalize(py::module_& module) {
    py::class_<PersonalizeRequest>(module, "PersonalizeRequest", "What zoodip.train is asked for.")
        .def(py::init<>())
        .def_readwrite("model", &PersonalizeRequest::model)
        .def_readwrite("images", &PersonalizeRequest::images)
        .def_readwrite("word", &PersonalizeRequest::word)
        .def_readwrite("initialiser", &PersonalizeRequest::initialiser)
        .def_readwrite("out", &PersonalizeRequest::out)
        .def_readwrite("resume", &PersonalizeRequest::resume)
        .def_readwrite("overwrite", &PersonalizeRequest::overwrite)
        .def_readwrite("log", &PersonalizeRequest::log)
        .def_readwrite("previews", &PersonalizeRequest::previews)
        .def_readwrite("like", &PersonalizeRequest::like)
        .def_property(
            "also",
            [](const PersonalizeRequest& request) {
                std::vector<std::pair<std::string, std::string>> also;
                for (const NewWord& other : request.also)
                    also.emplace_back(other.word, other.initialiser);
                return also;
            },
            [](PersonalizeRequest& request,
               const std::vector<std::pair<std::string, std::string>>& also) {
                request.also.clear();
                for (const auto& [word, initialiser] : also)
                    request.also.push_back({word, initialiser});
            })
        .def_property(
            "settings", [](const PersonalizeRequest& request) { return request.settings.dump(); },
            [](PersonalizeRequest& request, const std::string& settings) {
                request.settings = nlohmann::json::parse(settings);
            });
    module.def(
        "personalize",
        [](const PersonalizeRequest& request, const py::object& on_stage,
           const py::object& on_forecast, const py::object& on_step, const py::object& on_event,
           const CancelToken& cancel) {
            Callbacks callbacks(cancel);
            PythonObserver observer({on_stage, on_forecast, on_step, on_event}, callbacks);
            return run_personalize(request, observer, callbacks, cancel);
        },
        py::arg("request"), py::kw_only(), py::arg("on_stage"), py::arg("on_forecast"),
        py::arg("on_step"), py::arg("on_event"), py::arg("cancel"), "See zoodip.train.");
    module.def("personalize_together", &personalize_together, py::arg("requests"), py::kw_only(),
               py::arg("on_stage"), py::arg("on_events"), py::arg("cancel"),
               "See zoodip.train_together.");
    module.def(
        "describe_settings", [] { return describe_fields(train_setting_fields()).dump(); },
        "The declarations of all settings as JSON.");
    module.def(
        "inspect",
        [](const std::filesystem::path& model, const std::string& settings) {
            return run_engine(
                [&] { return inspect_model(model, nlohmann::json::parse(settings)).dump(); });
        },
        py::arg("model"), py::arg("settings"), "See zoodip.inspect.");
    module.def(
        "report_quantisation",
        [](const std::filesystem::path& model, const std::string& settings) {
            const CancelToken cancel;
            Callbacks callbacks(cancel);
            return run_with(callbacks, [&] {
                return report_quantisation(
                           model, nlohmann::json::parse(settings),
                           [&](auto, auto) { callbacks.call(py::none()); }, cancel)
                    .dump();
            });
        },
        py::arg("model"), py::arg("settings"), "See zoodip.inspect.");
}

void bind_render(py::module_& module) {
    module.def(
        "render",
        [](const std::filesystem::path& model, const std::string& prompt,
           const std::string& negative, const std::vector<std::filesystem::path>& tokens,
           std::int64_t width, std::int64_t height, std::int64_t steps, double guidance,
           std::uint64_t seed, std::int64_t clip_skip, const std::string& prediction,
           const std::string& zero_snr, const std::string& beta_schedule, double beta_start,
           double beta_end, const std::string& weights, const std::string& compute,
           const std::string& device, std::int64_t threads, const CancelToken& cancel) {
            RenderRequest request{model,  tokens, prompt,   negative, width,
                                  height, steps,  guidance, seed,     clip_skip};
            request.betas.start = beta_start;
            request.betas.end = beta_end;
            request.device = device;
            request.threads = threads;
            const RenderNames names{prediction, zero_snr, beta_schedule, weights, compute};
            Callbacks callbacks(cancel);
            const Picture picture = run_with(callbacks, [&] {
                names.put_into(request);
                return render(
                    request, [&](auto, auto) { callbacks.call(py::none()); }, cancel);
            });
            return py::make_tuple(
                picture.width, picture.height,
                py::bytes(reinterpret_cast<const char*>(picture.rgb.data()), picture.rgb.size()));
        },
        py::kw_only(), py::arg("model"), py::arg("prompt"), py::arg("negative"), py::arg("tokens"),
        py::arg("width"), py::arg("height"), py::arg("steps"), py::arg("guidance"), py::arg("seed"),
        py::arg("clip_skip"), py::arg("prediction"), py::arg("zero_snr"), py::arg("beta_schedule"),
        py::arg("beta_start"), py::arg("beta_end"), py::arg("weights"), py::arg("compute"),
        py::arg("device"), py::arg("threads"), py::arg("cancel"), "See zoodip.sample.");
    module.def("initial_noise", &initial_noise, py::arg("seed"), py::arg("height"),
               py::arg("width"), "What a picture of this seed starts from, [1, 4, h/8, w/8].");
}

}  // namespace

void bind_train(py::module_& module) {
    bind_personalize(module);
    bind_render(module);
}

}  // namespace zoodip
