#include <filesystem>
#include <string>

#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>
#include <torch/csrc/utils/pybind.h>

#include "python/bindings.h"
#include "python/guard.h"

#include "reports/token_convert.h"
#include "reports/token_description.h"

namespace py = pybind11;

namespace zoodip {

void bind_token(py::module_& module) {
    module.def(
        "read_token",
        [](const std::filesystem::path& file, const std::string& word) {
            const TokenFile token = run_engine([&] { return read_token(file, word); });
            return py::make_tuple(token.word, token.vectors, token.metadata);
        },
        py::arg("file"), py::arg("word") = "",
        "(word, {encoder: float32 [vectors, width]}, metadata) of any token file.");
    module.def(
        "others_of_token",
        [](const std::filesystem::path& file, const std::string& word) {
            return run_engine([&] { return describe_others(read_token(file, word)); });
        },
        py::arg("file"), py::arg("word") = "", "What a token file holds beside its word.");
    module.def(
        "token_info",
        [](const std::filesystem::path& file) {
            return run_engine(
                [&] { return to_json(describe_token(read_nameless_token(file))).dump(); });
        },
        py::arg("file"), "See zoodip.token_info.");
    module.def(
        "token_convert",
        [](const std::filesystem::path& source, const std::filesystem::path& out,
           const std::string& to, const std::string& word, bool overwrite) {
            run_engine([&] {
                convert_token({source, out, parse_token_format(to), word, overwrite});
                return true;
            });
        },
        py::kw_only(), py::arg("source"), py::arg("out"), py::arg("to"), py::arg("word"),
        py::arg("overwrite"), "See zoodip.token_convert.");
}

}  // namespace zoodip
