// The Python module zoodip._native. It parses and converts, nothing more.
#include <exception>

#include <pybind11/pybind11.h>

#include "python/bindings.h"

#include "core/error.h"

PYBIND11_MODULE(_native, module) {
    module.doc() = "Native engine of zoodip.";
    module.attr("__version__") = ZOODIP_VERSION;
    pybind11::register_exception<zoodip::Error>(module, "Error", PyExc_RuntimeError);
    pybind11::register_exception<zoodip::Cancelled>(module, "Cancelled", PyExc_Exception);
    zoodip::bind_core(module);
    zoodip::bind_io(module);
    zoodip::bind_tokenizer(module);
    zoodip::bind_weights(module);
    zoodip::bind_train(module);
    zoodip::bind_graph(module);
    zoodip::bind_folder(module);
    zoodip::bind_token(module);
    zoodip::bind_service(module);
    zoodip::bind_ranks(module);
#ifdef ZOODIP_TESTS
    zoodip::bind_nn(module);
    zoodip::bind_zo(module);
    zoodip::bind_objective(module);
#endif
}
