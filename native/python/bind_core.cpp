#include <string>
#include <utility>

#include <pybind11/functional.h>

#include "python/bindings.h"

#include "core/cancel.h"
#include "core/log.h"

namespace py = pybind11;

namespace zoodip {

void bind_core(py::module_& module) {
    py::class_<CancelToken>(module, "CancelToken", "Stops work from any thread; copies are one.")
        .def(py::init<>())
        .def("cancel", &CancelToken::cancel)
        .def_property_readonly("cancelled", &CancelToken::cancelled);
    module.def(
        "set_log_sink",
        [](const py::object& sink) {
            if (sink.is_none()) return set_log_sink({});
            // Never freed: messages are copied and dropped by threads that do not hold the GIL, and
            // the last one may come while the interpreter ends.
            const auto* held = new py::object(sink);
            set_log_sink([held](LogLevel level, const std::string& message) {
                const py::gil_scoped_acquire gil;
                (*held)(level == LogLevel::warning ? "warning" : "info", message);
            });
        },
        py::arg("sink"), "sink(level, message) is called for every message; None drops them.");
}

}  // namespace zoodip
