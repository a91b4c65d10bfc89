#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>
#include <torch/csrc/utils/pybind.h>

#include "python/bindings.h"
#include "python/guard.h"

#include "core/error.h"
#include "nn/families.h"
#include "nn/family.h"
#include "nn/inventory.h"
#include "nn/manifest.h"
#include "nn/tensor_map.h"

namespace py = pybind11;

namespace zoodip {
namespace {

py::dict describe(const Architecture& a) {
    using namespace py::literals;
    py::list encoders;
    for (const TextEncoderSpec& spec : a.encoders) {
        encoders.append(py::dict("key"_a = spec.key, "width"_a = spec.width, "heads"_a = spec.heads,
                                 "layer"_a = spec.layer, "layers"_a = spec.layers));
    }
    return py::dict("family"_a = a.family, "preset"_a = a.preset, "text_encoders"_a = encoders,
                    "text_width"_a = a.text_width(), "size_width"_a = a.size_width,
                    "unet_heads"_a = a.unet_heads.count, "unet_head_width"_a = a.unet_heads.width,
                    "prediction"_a = a.prediction == Prediction::v ? "v" : "epsilon",
                    "prediction_reason"_a = a.prediction_reason,
                    "vae"_a = a.vae == VaeKind::taesd ? "taesd" : "kl",
                    "latent_scale"_a = a.latent_scale, "latent_shift"_a = a.latent_shift,
                    "resolution"_a = a.resolution);
}

std::vector<std::string> names(const WeightSource& source) {
    std::vector<std::string> out;
    for (const WeightInfo& info : source.list()) out.push_back(info.name);
    return out;
}

std::pair<std::vector<std::int64_t>, at::ScalarType> info(const WeightSource& source,
                                                          const std::string& name) {
    const WeightInfo* found = source.find(name);
    require(found != nullptr, source.description(), ": has no tensor '", name, "'");
    return {found->shape, found->dtype};
}

py::dict describe(const PartInventory& part) {
    using namespace py::literals;
    return py::dict("tensors"_a = part.tensors, "parameters"_a = part.parameters,
                    "quantised"_a = part.quantised, "table"_a = part.table, "bytes"_a = part.bytes);
}

py::dict describe(const Inventory& inventory) {
    using namespace py::literals;
    return py::dict(
        "unet"_a = describe(inventory.unet), "text_encoder"_a = describe(inventory.text_encoder),
        "vae_encoder"_a = describe(inventory.vae_encoder),
        "vae_decoder"_a = describe(inventory.vae_decoder), "other"_a = describe(inventory.other));
}

}  // namespace

void bind_weights(py::module_& module) {
    py::class_<WeightSource, std::shared_ptr<WeightSource>>(
        module, "WeightSource", "Weights under original names, pulled one tensor at a time.")
        .def("names", &names)
        .def("metadata", &WeightSource::metadata)
        .def("description", &WeightSource::description)
        .def("info", &info, py::arg("name"), "(shape, dtype) of a tensor, without reading it.")
        .def(
            "get",
            [](const WeightSource& self, const std::string& name) {
                return run_engine([&] { return self.get(name); });
            },
            py::arg("name"), "The tensor as stored.")
        .def(
            "architecture",
            [](const WeightSource& self) {
                return describe(run_engine([&] { return detect_architecture(self); }));
            },
            "What the weights are; Error names what they are instead.")
        .def(
            "manifest",
            [](const WeightSource& self) {
                const Architecture architecture = detect_architecture(self);
                std::vector<std::pair<std::string, std::vector<std::int64_t>>> out;
                for (const auto& part :
                     {unet_manifest(self, architecture), text_encoder_manifest(self, architecture),
                      latent_encoder_manifest(self, architecture),
                      latent_decoder_manifest(self, architecture)}) {
                    for (const auto& [name, shape] : part) out.emplace_back(name, shape);
                }
                return out;
            },
            "(name, shape) of every tensor that a model of this structure has; -1 for any size.")
        .def(
            "require_whole",
            [](const WeightSource& self, bool encoder, bool decoder) {
                run_engine([&] {
                    require_whole(self, detect_architecture(self), {encoder, decoder});
                });
            },
            py::arg("encoder") = false, py::arg("decoder") = false,
            "Error lists what is missing or misshapen; encoder, decoder: the halves of the "
            "autoencoder that must be there.")
        .def(
            "unread",
            [](const WeightSource& self) {
                return unread_tensors(self, detect_architecture(self));
            },
            "The model's own tensors that nothing reads.")
        .def(
            "inventory", [](const WeightSource& self) { return describe(take_inventory(self)); },
            "Per part: tensors, parameters, those that become integers, those of the token "
            "embedding, and stored bytes by type.")
        .def(
            "quantised_share",
            [](const WeightSource& self) { return take_inventory(self).quantised_share(); },
            "The share of the parameters that become integers, from 0 to 1.");
    module.def(
        "families",
        [] {
            using namespace py::literals;
            py::list families;
            for (const Family* family : all_families()) {
                py::list encoders;
                for (const EncoderKind& kind : family->encoders) {
                    encoders.append(py::dict(
                        "key"_a = kind.key, "root"_a = kind.transformers_roots.front(),
                        "activation"_a =
                            kind.activation == TextActivation::gelu ? "gelu" : "quick_gelu",
                        "layer"_a = kind.layer, "pooled"_a = kind.pooled));
                }
                families.append(py::dict("name"_a = family->name, "preset"_a = family->preset,
                                         "encoders"_a = encoders,
                                         "vector_conditioning"_a = family->vector_conditioning));
            }
            return families;
        },
        "What is known of each family that can be trained, as nn/families.h has it; of the text "
        "encoders, where their tensors lie under the names of transformers.");
    module.def(
        "open_weights",
        [](const std::filesystem::path& path) -> std::shared_ptr<WeightSource> {
            return run_engine([&] { return open_weights(path); });
        },
        py::arg("path"), "A .safetensors checkpoint or a diffusers folder.");
    module.def(
        "weights_in_memory",
        [](std::map<std::string, at::Tensor> tensors,
           std::map<std::string, std::string> metadata) -> std::shared_ptr<WeightSource> {
            return std::make_shared<TensorMap>(std::move(tensors), "the given tensors",
                                               std::move(metadata));
        },
        py::arg("tensors"), py::arg("metadata") = std::map<std::string, std::string>{},
        "A source over tensors that are there already.");
}

}  // namespace zoodip
