// One function for each floor of the house; each declares its own Python names.
#pragma once

#include <pybind11/pybind11.h>

namespace zoodip {

void bind_core(pybind11::module_& module);
void bind_io(pybind11::module_& module);
void bind_tokenizer(pybind11::module_& module);
void bind_weights(pybind11::module_& module);
void bind_train(pybind11::module_& module);
void bind_graph(pybind11::module_& module);
void bind_folder(pybind11::module_& module);
void bind_token(pybind11::module_& module);
void bind_service(pybind11::module_& module);
void bind_ranks(pybind11::module_& module);

// The engine's parts one by one, for the tests and benchmarks; nobody else has them.
void bind_nn(pybind11::module_& module);
void bind_zo(pybind11::module_& module);
void bind_objective(pybind11::module_& module);

}  // namespace zoodip
