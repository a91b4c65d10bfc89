#include <filesystem>
#include <string>

#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include "python/bindings.h"

#include "io/picture_names.h"
#include "nn/word_edges.h"
#include "pictures/picture_folder.h"
#include "pictures/prompt_signs.h"

namespace py = pybind11;

namespace zoodip {
namespace {

std::string show(WordNeighbour neighbour) {
    switch (neighbour) {
        case WordNeighbour::letter:
            return "letter";
        case WordNeighbour::mark:
            return "mark";
        case WordNeighbour::invisible:
            return "invisible";
        case WordNeighbour::other:
            break;
    }
    return "other";
}

}  // namespace

void bind_folder(py::module_& module) {
    using unlocked = py::call_guard<py::gil_scoped_release>;
    module.def("picture_endings", &picture_endings,
               "The endings of pictures that are read, in lower case: ['.jpg', ...].");
    py::class_<FolderPicture>(module, "FolderPicture", "See zoodip.FolderPicture.")
        .def_readonly("file", &FolderPicture::file)
        .def_readonly("name", &FolderPicture::name)
        .def_readonly("caption", &FolderPicture::caption)
        .def_readonly("source", &FolderPicture::source)
        .def_readonly("repeats", &FolderPicture::repeats);
    py::class_<LeftOut>(module, "LeftOut", "See zoodip.LeftOut.")
        .def_readonly("name", &LeftOut::name)
        .def_readonly("why", &LeftOut::why)
        .def_readonly("expected", &LeftOut::expected);
    py::class_<PictureFolder>(module, "PictureFolder", "See zoodip.PictureFolder.")
        .def_readonly("pictures", &PictureFolder::pictures)
        .def_readonly("left_out", &PictureFolder::left_out)
        .def_readonly("files", &PictureFolder::files)
        .def_property_readonly("text", &to_text)
        .def_property_readonly("lacks_something", &lacks_something);
    module.def("read_picture_folder", &read_picture_folder, py::arg("folder"), unlocked(),
               "See zoodip.read_folder.");
    module.def("unread_signs", &unread_signs, py::arg("text"), py::arg("is_prompt"), unlocked(),
               "Signs in a text that other programs obey and that are plain text here.");
    module.def(
        "find_words",
        [](const std::string& text, const std::vector<std::string>& words) {
            std::vector<py::tuple> found;
            for (const FoundWord& each : find_words(text, words)) {
                found.push_back(py::make_tuple(words[each.word], each.begin, each.end));
            }
            return found;
        },
        py::arg("text"), py::arg("words"),
        "(word, begin, end) of every whole occurrence, in bytes of UTF-8.");
    module.def(
        "word_neighbour", [](std::int32_t point) { return show(word_neighbour(point)); },
        py::arg("code_point"), "'letter', 'mark', 'invisible' or 'other': see nn/word_edges.h.");
}

}  // namespace zoodip
