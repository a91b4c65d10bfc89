#include <filesystem>
#include <string>

#include <pybind11/stl/filesystem.h>

#include "python/bindings.h"

#include "io/picture.h"

namespace py = pybind11;

namespace zoodip {

void bind_io(py::module_& module) {
    module.def(
        "load_picture",
        [](const std::filesystem::path& file, int width, int height) {
            Picture picture;
            {
                const py::gil_scoped_release release;
                picture = read_picture(file);
                if (width != 0 || height != 0) picture = crop_resize(picture, width, height);
            }
            return py::make_tuple(
                picture.width, picture.height,
                py::bytes(reinterpret_cast<const char*>(picture.rgb.data()), picture.rgb.size()));
        },
        py::arg("path"), py::arg("width") = 0, py::arg("height") = 0,
        "(width, height, RGB bytes) of a picture; cropped and resized to width x height unless "
        "both "
        "are 0.");
    module.def(
        "load_training_picture",
        [](const std::filesystem::path& file, const std::string& name, int side) {
            Picture picture;
            {
                const py::gil_scoped_release release;
                picture = crop_resize(read_training_picture(file, name), side, side);
            }
            return py::bytes(reinterpret_cast<const char*>(picture.rgb.data()), picture.rgb.size());
        },
        py::arg("path"), py::arg("name"), py::arg("side"),
        "RGB bytes of a picture's middle square, side x side, as a training reads it. Errors call "
        "it `name`.");
}

}  // namespace zoodip
