#include <cstdint>
#include <string>
#include <tuple>

#include <torch/csrc/utils/pybind.h>

#include "python/bindings.h"
#include "python/guard.h"

#include "zo/directions.h"
#include "zo/estimators.h"
#include "zo/subspace.h"
#include "zo/zo_adam.h"

namespace py = pybind11;

namespace zoodip {
namespace {

void bind_estimator(py::module_& module) {
    py::class_<Estimator>(module, "Estimator",
                          "Random gradient estimates: rge (g = 1/n sum_i (L(theta + mu e_i) - "
                          "L(theta)) / mu e_i), spsa, one_point.")
        .def(py::init([](const std::string& method, double mu) {
                 return run_engine([&] { return make_estimator(method, mu); });
             }),
             py::arg("method"), py::arg("mu"), "mu > 0: the length of a perturbation.")
        .def(
            "points",
            [](const Estimator& self, const at::Tensor& theta, const at::Tensor& directions) {
                return run_engine([&] { return self.points(theta, directions); });
            },
            py::arg("theta"), py::arg("directions"),
            "theta float32 [d], directions float32 [directions(n), d] -> float32 [passes(n), d].")
        .def(
            "estimate",
            [](const Estimator& self, const at::Tensor& losses, const at::Tensor& directions) {
                return run_engine([&] { return self.estimate(losses, directions); });
            },
            py::arg("losses"), py::arg("directions"),
            "The losses [passes(n)] of the points and the directions -> g, float32 [d]. A loss "
            "that is not finite is an Error.")
        .def(
            "loss",
            [](const Estimator& self, const at::Tensor& losses) { return self.loss(losses); },
            py::arg("losses"), "L(theta) as the points show it.")
        .def("directions", &Estimator::directions, py::arg("n"), "Directions that a step draws.")
        .def("passes", &Estimator::passes, py::arg("n"), "Forward passes of a step with n slopes.");
    module.def(
        "draw_directions",
        [](std::int64_t n, std::int64_t d, std::uint64_t seed, std::uint64_t step) {
            return run_engine([&] { return draw_directions(n, d, seed, step); });
        },
        py::arg("n"), py::arg("d"), py::arg("seed"), py::arg("step"),
        "N(0, I) directions of a step, float32 [n, d]; a row depends on (seed, step, row) alone.");
    module.def(
        "principal_directions",
        [](const at::Tensor& rows, std::int64_t rank) {
            return run_engine([&] { return principal_directions(rows, rank); });
        },
        py::arg("rows"), py::arg("rank"),
        "The leading principal directions of [count, width], float32 [rank, width].");
    module.def(
        "span_basis",
        [](const at::Tensor& rows) { return run_engine([&] { return span_basis(rows); }); },
        py::arg("rows"), "An orthonormal basis of what rows span, float32 [rank, width].");
}

void bind_subspace(py::module_& module) {
    py::class_<Subspace>(module, "Subspace",
                         "Takes directions in which the last words hardly moved out of a gradient.")
        .def(py::init([](std::int64_t tau, double nu, std::int64_t d) {
                 return run_engine([&] { return Subspace(tau, nu, d); });
             }),
             py::arg("tau"), py::arg("nu"), py::arg("d"),
             "tau words a decomposition, the share nu of the variance to remove, d numbers a word.")
        .def(
            "project",
            [](const Subspace& self, const at::Tensor& g) {
                return run_engine([&] { return self.project(g); });
            },
            py::arg("g"), "g (I - P^T P), float32 [d]; a copy of g while P is empty.")
        .def(
            "record",
            [](Subspace& self, const at::Tensor& theta) {
                run_engine([&] { self.record(theta); });
            },
            py::arg("theta"), "Takes in an updated word [d]; the tau-th makes a new P.")
        .def_property_readonly("removed", &Subspace::removed, "Rows of P.")
        .def(
            "state",
            [](const Subspace& self) {
                const Subspace::State state = run_engine([&] { return self.state(); });
                return std::make_tuple(state.buffer, state.projection);
            },
            "(words since the last decomposition [rows, d], P [removed, d]), copies.")
        .def(
            "set_state",
            [](Subspace& self, const at::Tensor& buffer, const at::Tensor& projection) {
                run_engine([&] { self.set_state({buffer, projection}); });
            },
            py::arg("buffer"), py::arg("projection"), "Goes on from a state(); copies.");
}

void bind_adam(py::module_& module) {
    const ZoAdamOptions standard;
    py::class_<ZoAdam>(module, "ZoAdam",
                       "Adam on an estimate that is divided by sqrt((d - removed + n - 1) / n).")
        .def(py::init([](std::int64_t d, double learning_rate, double beta1, double beta2,
                         double eps) {
                 return run_engine([&] { return ZoAdam(d, {learning_rate, beta1, beta2, eps}); });
             }),
             py::arg("d"), py::arg("learning_rate") = standard.learning_rate,
             py::arg("beta1") = standard.beta1, py::arg("beta2") = standard.beta2,
             py::arg("eps") = standard.eps)
        .def(
            "step",
            [](ZoAdam& self, const at::Tensor& theta, const at::Tensor& g, std::int64_t removed,
               std::int64_t n, bool estimated) {
                return run_engine([&] { return self.step(theta, g, removed, n, estimated); });
            },
            py::arg("theta"), py::arg("g"), py::arg("removed") = 0, py::arg("n") = 1,
            py::arg("estimated") = true,
            "The new theta, float32 [d]. removed: rows of P; n: directions of the estimate; an "
            "exact gradient (estimated=False) is not scaled.")
        .def(
            "state",
            [](const ZoAdam& self) {
                const ZoAdam::State state = run_engine([&] { return self.state(); });
                return std::make_tuple(state.m, state.v, state.step);
            },
            "(m [d], v [d], steps made), copies.")
        .def(
            "set_state",
            [](ZoAdam& self, const at::Tensor& m, const at::Tensor& v, std::int64_t step) {
                run_engine([&] { self.set_state({m, v, step}); });
            },
            py::arg("m"), py::arg("v"), py::arg("step"), "Goes on from a state(); copies.");
}

}  // namespace

void bind_zo(py::module_& module) {
    bind_estimator(module);
    bind_subspace(module);
    bind_adam(module);
}

}  // namespace zoodip
