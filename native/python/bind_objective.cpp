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
                   std::int64_t clip_skip, at::Device device)
        : text_encoder_(std::move(text_encoder)), unet_(std::move(unet)) {
        TokenLayout layout;
        layout.add(word, "clip_l", 1, width);
        std::vector<PreparedText> texts;
        for (const auto& caption : captions) {
            texts.push_back(prepare_caption(clip_tokenizer(), caption, {word, 1}, "caption"));
        }
        objective_ = std::make_unique<DiffusionObjective>(
            DiffusionObjective::Parts{*text_encoder_, *unet_, prediction, clip_skip, device},
            std::move(layout), std::move(texts));
    }

    at::Tensor losses(const at::Tensor& thetas, const Sample& sample) {
        return objective_->losses(thetas, sample);
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
                         std::int64_t clip_skip, const std::string& device) {
                 return run_engine([&] {
                     return std::make_unique<OwnedObjective>(
                         std::move(text_encoder), std::move(unet), word, width, captions,
                         choose_prediction(prediction, {}), clip_skip, at::Device(device));
                 });
             }),
             py::arg("text_encoder"), py::arg("unet"), py::arg("word"), py::arg("width"),
             py::arg("captions"), py::arg("prediction") = "epsilon", py::arg("clip_skip") = 1,
             py::arg("device") = "cpu")
        .def(
            "losses",
            [](OwnedObjective& self, const at::Tensor& thetas, std::int64_t picture,
               std::int64_t timestep, const at::Tensor& z, const at::Tensor& eps) {
                return run_engine([&] {
                    return self.losses(thetas, {picture, false, timestep, z, eps});
                });
            },
            py::arg("thetas"), py::arg("picture"), py::arg("timestep"), py::arg("z"),
            py::arg("eps"),
            "thetas float32 [k, width], z and eps [1, 4, h, w] -> float64 [k], one for each row.")
        .def_property_readonly("unet_calls", &OwnedObjective::unet_calls,
                               "How often the UNet ran: once for all rows of a call.");
}

}  // namespace zoodip
