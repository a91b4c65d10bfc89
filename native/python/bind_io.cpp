#include <filesystem>

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
}

}  // namespace zoodip
