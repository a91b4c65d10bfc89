#include <array>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include <pybind11/stl.h>
#include <torch/csrc/utils/pybind.h>

#include "python/bindings.h"
#include "python/guard.h"

#include "nn/family.h"
#include "objective/engine.h"
#include "objective/objective.h"
#include "objective/sensitivity.h"

namespace py = pybind11;

namespace zoodip {
namespace {

using SampleList = std::vector<std::tuple<std::int64_t, std::int64_t, at::Tensor, at::Tensor>>;

// A caption with "{}" for the word, or a text that is prepared already.
using Caption = std::variant<std::string, PreparedText>;

PreparedText prepare(const Caption& caption, const PlacedWord& word) {
    if (const auto* text = std::get_if<PreparedText>(&caption)) return *text;
    return prepare_caption(clip_tokenizer(), std::get<std::string>(caption), {word}, "caption");
}

using SizeNumbers = std::array<std::int64_t, 6>;
using PairsOfSizes = std::vector<std::array<SizeNumbers, 2>>;

std::vector<std::array<PictureSize, 2>> sizes_of(const PairsOfSizes& pairs) {
    const auto size_of = [](const SizeNumbers& n) {
        return PictureSize{n[0], n[1], n[2], n[3], n[4], n[5]};
    };
    std::vector<std::array<PictureSize, 2>> sizes;
    for (const auto& [plain, mirrored] : pairs)
        sizes.push_back({size_of(plain), size_of(mirrored)});
    return sizes;
}

// The objective with the models it runs, for one word.
class OwnedObjective {
  public:
    OwnedObjective(const std::vector<std::shared_ptr<TextEncoder>>& text_encoders,
                   std::int64_t size_width, const PictureSize& size, const PairsOfSizes& sizes,
                   std::shared_ptr<UNet> unet, const PlacedWord& word,
                   const std::vector<Caption>& captions, Prediction prediction,
                   std::int64_t clip_skip, at::Device device, std::int64_t chunk)
        : unet_(std::move(unet)) {
        TokenLayout layout;
        for (const auto& encoder : text_encoders) {
            layout.add(word.word, encoder->spec().key, word.vectors, encoder->width());
        }
        DiffusionObjective::Texts texts;
        for (const auto& caption : captions) texts.push_back({prepare(caption, word)});
        objective_ = std::make_unique<DiffusionObjective>(
            DiffusionObjective::Parts{
                TextEncoders({text_encoders.begin(), text_encoders.end()}, size_width),
                *unet_,
                prediction,
                clip_skip,
                device,
                {},
                size,
                sizes_of(sizes)},
            std::move(layout), std::move(texts), chunk);
    }

    at::Tensor losses(const at::Tensor& thetas, const Sample& sample, LossForm form) {
        return objective_->losses(thetas, sample, form);
    }
    LossGradient gradient(const at::Tensor& theta, const Sample& sample) {
        return objective_->gradient(theta, sample);
    }
    // What came of it: layer -> (error, whether it is sensitive), and the share of integers.
    std::pair<std::map<std::string, std::pair<double, bool>>, double> calibrate(
        const at::Tensor& theta, const std::vector<Sample>& samples) {
        objective_->calibrate(theta, samples);
        std::map<std::string, std::pair<double, bool>> layers;
        const Activations* activations = objective_->activations();
        if (activations == nullptr) return {layers, 0};
        for (const auto& layer : activations->layers()) {
            layers[layer->name()] = {layer->error(), layer->sensitive()};
        }
        return {layers, activations->integer_share()};
    }
    std::int64_t unet_calls() const { return objective_->unet_calls(); }

  private:
    std::shared_ptr<UNet> unet_;
    std::unique_ptr<DiffusionObjective> objective_;
};

at::Tensor find_sensitive(const std::shared_ptr<WeightSource>& source,
                          const std::vector<std::shared_ptr<TextEncoder>>& text_encoders,
                          std::int64_t size_width, const PlacedWord& word,
                          const std::vector<std::string>& captions, const at::Tensor& theta,
                          std::int64_t rank, std::uint64_t seed) {
    TokenLayout layout;
    for (const auto& encoder : text_encoders)
        layout.add(word.word, encoder->spec().key, word.vectors, encoder->width());
    DiffusionObjective::Texts texts;
    for (const auto& caption : captions) texts.push_back({prepare(caption, word)});
    const TextEncoders all({text_encoders.begin(), text_encoders.end()}, size_width);
    const LoadOptions load;
    return sensitive_directions(
        {*source, load, all, layout, texts, 1, PictureSize::whole(128, 128), seed}, theta, rank);
}

}  // namespace

void bind_objective(py::module_& module) {
    module.def(
        "sensitive_directions",
        [](const std::shared_ptr<WeightSource>& source,
           const std::vector<std::shared_ptr<TextEncoder>>& text_encoders,
           const std::vector<std::string>& captions, const at::Tensor& theta, std::int64_t rank,
           std::uint64_t seed, std::int64_t size_width, std::int64_t vectors) {
            return run_engine([&] {
                return find_sensitive(source, text_encoders, size_width, {"zwx", vectors}, captions,
                                      theta, rank, seed);
            });
        },
        py::arg("source"), py::arg("text_encoders"), py::arg("captions"), py::arg("theta"),
        py::arg("rank"), py::arg("seed") = 0, py::arg("size_width") = 0, py::arg("vectors") = 1,
        "The leading directions that what the UNet reads of captions with {} depends on, float32 "
        "[rank, d].");
    py::class_<OwnedObjective>(module, "Objective",
                               "mean over all elements of (target - UNet(z_t, t, c_theta))^2.")
        .def(py::init([](const std::vector<std::shared_ptr<TextEncoder>>& text_encoders,
                         std::shared_ptr<UNet> unet, const std::string& word,
                         const std::vector<Caption>& captions, const std::string& prediction,
                         std::int64_t clip_skip, const std::string& device, std::int64_t vectors,
                         std::int64_t chunk, std::int64_t size_width, std::int64_t side,
                         const PairsOfSizes& sizes) {
                 return run_engine([&] {
                     return std::make_unique<OwnedObjective>(
                         text_encoders, size_width, PictureSize::whole(side, side), sizes,
                         std::move(unet), PlacedWord{word, vectors}, captions,
                         value_named(prediction_names(), "prediction", prediction), clip_skip,
                         at::Device(device), chunk);
                 });
             }),
             py::arg("text_encoders"), py::arg("unet"), py::arg("word"), py::arg("captions"),
             py::arg("prediction") = "epsilon", py::arg("clip_skip") = 1, py::arg("device") = "cpu",
             py::arg("vectors") = 1, py::arg("chunk") = 0, py::arg("size_width") = 0,
             py::arg("side") = 0, py::arg("sizes") = PairsOfSizes(),
             "captions: one for each picture, with {} for the word, or a PreparedText. size_width, "
             "side: of a UNet with size conditioning, and the picture's side that it is told; "
             "sizes: "
             "instead, of each picture as it is and mirrored, height and width of the original, "
             "top and left of the crop, height and width of the target.")
        .def(
            "losses",
            [](OwnedObjective& self, const at::Tensor& thetas, std::int64_t picture,
               std::int64_t timestep, const at::Tensor& z, const at::Tensor& eps, bool linearised,
               bool mirrored) {
                const LossForm form = linearised ? LossForm::linearised : LossForm::squared;
                return run_engine([&] {
                    return self.losses(thetas, {picture, mirrored, timestep, z, eps}, form);
                });
            },
            py::arg("thetas"), py::arg("picture"), py::arg("timestep"), py::arg("z"),
            py::arg("eps"), py::arg("linearised") = false, py::arg("mirrored") = false,
            "thetas float32 [k, d], z and eps [1, 4, h, w] -> float64 [k], one for each row; "
            "linearised: L(theta_0) + (2/N) <r, eps(theta_i) - eps(theta_0)>.")
        .def(
            "gradient",
            [](OwnedObjective& self, const at::Tensor& theta, std::int64_t picture,
               std::int64_t timestep, const at::Tensor& z, const at::Tensor& eps) {
                return run_engine([&] {
                    const LossGradient out =
                        self.gradient(theta, {picture, false, timestep, z, eps});
                    return std::make_pair(out.loss, out.gradient);
                });
            },
            py::arg("theta"), py::arg("picture"), py::arg("timestep"), py::arg("z"), py::arg("eps"),
            "theta float32 [d] -> (its loss, the exact gradient float32 [d]).")
        .def(
            "calibrate",
            [](OwnedObjective& self, const at::Tensor& theta, const SampleList& samples) {
                return run_engine([&] {
                    std::vector<Sample> all;
                    for (const auto& [picture, timestep, z, eps] : samples) {
                        all.push_back({picture, false, timestep, z, eps});
                    }
                    return self.calibrate(theta, all);
                });
            },
            py::arg("theta"), py::arg("samples"),
            "For a UNet of compute int8: static scales of the activations, from samples (picture, "
            "timestep, z, eps) -> ({layer: (error, whether it stays out)}, share of integers).")
        .def_property_readonly("unet_calls", &OwnedObjective::unet_calls,
                               "How often the UNet ran: once for all rows of a call.");
}

}  // namespace zoodip
