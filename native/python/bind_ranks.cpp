#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <pybind11/functional.h>
#include <pybind11/stl.h>
#include <torch/csrc/utils/pybind.h>

#include "cli/commands.h"
#include "cli/interruption.h"
#include "python/bindings.h"
#include "ranks/wire.h"

#include "core/error.h"

namespace py = pybind11;

namespace zoodip {
namespace {

// An object of zoodip._ranks, which has torch's c10d.
class PythonWire : public Wire {
    // Whatever is raised is a sentence already.
    template <class Work>
    static auto call(const Work& work) {
        const py::gil_scoped_acquire gil;
        try {
            return work();
        } catch (const py::error_already_set& error) {
            throw Error(py::str(error.value()).cast<std::string>());
        }
    }

  public:
    explicit PythonWire(py::object wire)
        : wire_(std::move(wire)),
          rank_(wire_.attr("rank").cast<int>()),
          size_(wire_.attr("size").cast<int>()),
          local_size_(wire_.attr("local_size").cast<int>()),
          stopping_(py::cpp_function([] { return interruption().cancelled(); })) {}

    int rank() const override { return rank_; }
    int size() const override { return size_; }
    int local_size() const override { return local_size_; }
    std::string name_of(int rank) const override {
        return call([&] { return wire_.attr("name_of")(rank).cast<std::string>(); });
    }
    std::string all_gather(std::string_view mine, double limit) override {
        return call([&] {
            return wire_.attr("all_gather")(py::bytes(mine), limit, stopping_).cast<std::string>();
        });
    }
    void send(int to, std::string_view bytes, double limit) override {
        call([&] { wire_.attr("send")(to, py::bytes(bytes), limit); });
    }
    std::string receive(int from, std::size_t count, double limit) override {
        return call([&] { return wire_.attr("receive")(from, count, limit).cast<std::string>(); });
    }

  private:
    py::object wire_;
    int rank_, size_, local_size_;
    py::object stopping_;
};

}  // namespace

void bind_ranks(py::module_& module) {
    module.def(
        "run_program",
        [](const std::vector<std::string>& arguments, const py::object& wire) {
            std::vector<const char*> argv = {"zoodip"};
            for (const std::string& argument : arguments) argv.push_back(argument.c_str());
            argv.push_back(nullptr);
            // Outlives what is below, and goes with the GIL.
            const std::shared_ptr<Wire> shared = std::make_shared<PythonWire>(wire);
            const py::gil_scoped_release release;
            return run_program(static_cast<int>(argv.size()) - 1, argv.data(), shared);
        },
        py::arg("arguments"), py::arg("wire"),
        "The program `zoodip` in this process, as one of the ranks of a wire; returns its exit "
        "status. The process is its own: signals are taken.");
}

}  // namespace zoodip
