#include <string>
#include <string_view>

#include <pybind11/stl.h>

#include "python/bindings.h"

#include "nn/text_normalize.h"
#include "nn/tokenizer.h"

namespace py = pybind11;

namespace zoodip {

void bind_tokenizer(py::module_& module) {
    using unlocked = py::call_guard<py::gil_scoped_release>;
    py::class_<Tokenizer>(module, "Tokenizer",
                          "CLIP's tokenizer. Text is str, or bytes that hold UTF-8.")
        .def(py::init<>(), unlocked())
        .def_property_readonly_static("bos", [](const py::object&) { return Tokenizer::bos; })
        .def_property_readonly_static("eos", [](const py::object&) { return Tokenizer::eos; })
        .def_property_readonly_static("max_positions",
                                      [](const py::object&) { return Tokenizer::max_positions; })
        .def_property_readonly_static("max_bytes",
                                      [](const py::object&) { return Tokenizer::max_bytes; })
        .def("encode", &Tokenizer::encode, py::arg("text"), unlocked(),
             "The ids of text, without those of its begin and end.")
        .def("encode_prompt", &Tokenizer::encode_prompt, py::arg("text"), unlocked(),
             "bos, the ids of text, eos up to 77 in all.")
        .def("decode", &Tokenizer::decode, py::arg("id"), unlocked(), "The text of one token.")
        .def("split", &Tokenizer::split, py::arg("text"), unlocked(),
             "The texts of the tokens of text.")
        .def("single_token", &Tokenizer::single_token, py::arg("word"), unlocked(),
             "The id of word when it is one token, or None.")
        .def("single_words_in", &Tokenizer::single_words_in, py::arg("text"), unlocked(),
             "The words of letters in text that are one token each.");
    module.def("unicode_category", &unicode_category, py::arg("code_point"),
               "The general category, such as 'Lu'; 'Cn' when the tables do not know the code "
               "point.");
}

}  // namespace zoodip
