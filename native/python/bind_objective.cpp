#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <pybind11/stl.h>
#include <torch/csrc/utils/pybind.h>

#include "python/bindings.h"
#include "python/guard.h"

#include "nn/family.h"
#include "train/engine.h"
#include "train/objective.h"

namespace py = pybind11;

namespace zoodip {
namespace {

// The objective with the models it runs, for one word of one vector.
class OwnedObjective {
  public:
    OwnedObjective(std::shared_ptr<TextEncoder> text_encoder, std::shared_ptr<UNet> unet,
                   const std::string& word, std::int64_t width,
                   const std::vector<std::string>& captions, Prediction prediction,
                   std::int64_t clip_skip, at::Device device, std::int64_t chunk)
        : text_encoder_(std::move(text_encoder)), unet_(std::move(unet)) {
        TokenLayout layout;
        layout.add(word, "clip_l", 1, width);
        DiffusionObjective::Texts texts;
        for (const auto& caption : captions) {
            texts.push_back({prepare_caption(clip_tokenizer(), caption, {word, 1}, "caption")});
        }
        objective_ = std::make_unique<DiffusionObjective>(
            DiffusionObjective::Parts{TextEncoders(*text_encoder_), *unet_, prediction, clip_skip,
                                      device},
            std::move(layout), std::move(texts), chunk);
    }

    at::Tensor losses(const at::Tensor& thetas, const Sample& sample, LossForm form) {
        return objective_->losses(thetas, sample, form);
    }
    std::int64_t unet_calls() const { return objective_->unet_calls(); }

  private:
    std::shared_ptr<TextEncoder> text_encoder_;
    std::shared_ptr<UNet> unet_;
    std::unique_ptr<DiffusionObjective> objective_;
};

}  // namespace

void bind_objective(py::module_& module) {
    py::class_<OwnedObjective>(module, "Objective",
                               "mean over all elements of (target - UNet(z_t, t, c_theta))^2.")
        .def(py::init([](std::shared_ptr<TextEncoder> text_encoder, std::shared_ptr<UNet> unet,
                         const std::string& word, std::int64_t width,
                         const std::vector<std::string>& captions, const std::string& prediction,
                         std::int64_t clip_skip, const std::string& device, std::int64_t chunk) {
                 return run_engine([&] {
                     return std::make_unique<OwnedObjective>(
                         std::move(text_encoder), std::move(unet), word, width, captions,
                         choose_prediction(prediction, {}), clip_skip, at::Device(device), chunk);
                 });
             }),
             py::arg("text_encoder"), py::arg("unet"), py::arg("word"), py::arg("width"),
             py::arg("captions"), py::arg("prediction") = "epsilon", py::arg("clip_skip") = 1,
             py::arg("device") = "cpu", py::arg("chunk") = 0)
        .def(
            "losses",
            [](OwnedObjective& self, const at::Tensor& thetas, std::int64_t picture,
               std::int64_t timestep, const at::Tensor& z, const at::Tensor& eps, bool linearised) {
                const LossForm form = linearised ? LossForm::linearised : LossForm::squared;
                return run_engine([&] {
                    return self.losses(thetas, {picture, false, timestep, z, eps}, form);
                });
            },
            py::arg("thetas"), py::arg("picture"), py::arg("timestep"), py::arg("z"),
            py::arg("eps"), py::arg("linearised") = false,
            "thetas float32 [k, width], z and eps [1, 4, h, w] -> float64 [k], one for each row; "
            "linearised: L(theta_0) + (2/N) <r, eps(theta_i) - eps(theta_0)>.")
        .def_property_readonly("unet_calls", &OwnedObjective::unet_calls,
                               "How often the UNet ran: once for all rows of a call.");
}

}  // namespace zoodip
