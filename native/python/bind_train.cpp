#include <exception>
#include <functional>
#include <string>

#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>
#include <torch/csrc/utils/pybind.h>

#include "python/bindings.h"
#include "python/guard.h"

#include "core/log.h"
#include "io/picture.h"
#include "train/inspect.h"
#include "train/personalize.h"
#include "train/render.h"
#include "train/settings.h"
#include "train/token_file.h"

namespace py = pybind11;

namespace zoodip {
namespace {

// Calls back into Python with the GIL. What a callback raises stops the run, which keeps what was
// learned, and is raised again at the end.
class PythonObserver : public PersonalizeObserver {
  public:
    PythonObserver(py::object on_stage, py::object on_forecast, py::object on_step,
                   CancelToken cancel)
        : on_stage_(std::move(on_stage)),
          on_forecast_(std::move(on_forecast)),
          on_step_(std::move(on_step)),
          cancel_(std::move(cancel)) {}

    void on_stage(const std::string& stage) override { call(on_stage_, stage); }
    void on_forecast(double seconds, std::int64_t steps) override {
        call(on_forecast_, seconds, steps);
    }
    void on_step(std::int64_t step, std::int64_t steps, double loss, double smooth) override {
        call(on_step_, step, steps, loss, smooth);
    }

    void raise() const {
        if (raised_) std::rethrow_exception(raised_);
    }

  private:
    template <class... Arguments>
    void call(const py::object& callback, Arguments... arguments) {
        if (raised_) return;
        const py::gil_scoped_acquire gil;
        try {
            if (PyErr_CheckSignals() != 0) throw py::error_already_set();
            if (!callback.is_none()) callback(arguments...);
        } catch (...) {
            raised_ = std::current_exception();
            cancel_.cancel();
        }
    }

    py::object on_stage_, on_forecast_, on_step_;
    CancelToken cancel_;
    std::exception_ptr raised_;
};

py::dict run_personalize(const PersonalizeRequest& request, PythonObserver& observer,
                         const CancelToken& cancel) {
    PersonalizeResult result;
    try {
        result = run_engine([&] { return personalize(request, observer, cancel); });
    } catch (const Cancelled&) {
        observer.raise();
        throw;
    }
    observer.raise();
    using namespace py::literals;
    return py::dict("token"_a = result.token, "steps"_a = result.steps,
                    "finished"_a = result.finished, "loss"_a = result.smooth_loss);
}

void bind_personalize(py::module_& module) {
    module.def(
        "personalize",
        [](const std::filesystem::path& model, const std::filesystem::path& images,
           const std::string& word, const std::string& initialiser,
           const std::filesystem::path& out, const std::string& settings, bool resume,
           bool overwrite, const py::object& on_stage, const py::object& on_forecast,
           const py::object& on_step, const CancelToken& cancel) {
            const PersonalizeRequest request{model,       images,   word,
                                             initialiser, out,      nlohmann::json::parse(settings),
                                             resume,      overwrite};
            PythonObserver observer(on_stage, on_forecast, on_step, cancel);
            return run_personalize(request, observer, cancel);
        },
        py::kw_only(), py::arg("model"), py::arg("images"), py::arg("word"), py::arg("initialiser"),
        py::arg("out"), py::arg("settings"), py::arg("resume"), py::arg("overwrite"),
        py::arg("on_stage"), py::arg("on_forecast"), py::arg("on_step"), py::arg("cancel"),
        "See zoodip.train.");
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
}

void bind_render(py::module_& module) {
    module.def(
        "render",
        [](const std::filesystem::path& model, const std::string& prompt,
           const std::string& negative, const std::vector<std::filesystem::path>& tokens,
           std::int64_t width, std::int64_t height, std::int64_t steps, double guidance,
           std::int64_t seed, std::int64_t clip_skip, const std::string& prediction,
           const std::string& weights, const std::string& compute, const std::string& device,
           const CancelToken& cancel) {
            const RenderRequest request{model,      tokens,  prompt,   negative, width,
                                        height,     steps,   guidance, seed,     clip_skip,
                                        prediction, weights, compute,  device,   0};
            const Picture picture = run_engine([&] {
                return render(
                    request, [](auto, auto) {}, cancel);
            });
            return py::make_tuple(
                picture.width, picture.height,
                py::bytes(reinterpret_cast<const char*>(picture.rgb.data()), picture.rgb.size()));
        },
        py::kw_only(), py::arg("model"), py::arg("prompt"), py::arg("negative"), py::arg("tokens"),
        py::arg("width"), py::arg("height"), py::arg("steps"), py::arg("guidance"), py::arg("seed"),
        py::arg("clip_skip"), py::arg("prediction"), py::arg("weights"), py::arg("compute"),
        py::arg("device"), py::arg("cancel"), "See zoodip.sample.");
    module.def("initial_noise", &initial_noise, py::arg("seed"), py::arg("height"),
               py::arg("width"), "What a picture of this seed starts from, [1, 4, h/8, w/8].");
}

}  // namespace

void bind_train(py::module_& module) {
    bind_personalize(module);
    bind_render(module);
}

}  // namespace zoodip
