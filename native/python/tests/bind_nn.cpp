#include <map>
#include <memory>
#include <optional>
#include <string>

#include <pybind11/stl.h>
#include <torch/csrc/utils/pybind.h>

#include "python/bindings.h"
#include "python/guard.h"

#include "core/error.h"
#include "nn/families.h"
#include "nn/tensor_map.h"
#include "nn/text_encoder.h"
#include "nn/unet.h"
#include "nn/vae.h"
#include "ops/layers.h"

namespace py = pybind11;

namespace zoodip {
namespace {

LoadOptions options(const std::string& weights, const std::string& compute,
                    const std::string& device) {
    LoadOptions load{
        parse_weight_type(weights), parse_compute_type(compute), at::Device(device), {}};
    if (load.compute == ComputeType::int8) load.activations = std::make_shared<Activations>();
    return load;
}

const WeightCodec& codec(const std::string& weights) {
    const WeightCodec* found = find_codec(parse_weight_type(weights));
    require(found != nullptr, "weights: '", weights, "' is no quantised type");
    return *found;
}

void bind_ops(py::module_& module) {
    py::class_<PackedWeight>(module, "PackedWeight", "A quantised weight as its type packs it.")
        .def_readonly("values", &PackedWeight::values)
        .def_readonly("scale", &PackedWeight::scale)
        .def_property_readonly(
            "shift",
            [](const PackedWeight& self) {
                return self.shift.defined() ? std::optional(self.shift) : std::nullopt;
            },
            "None where the type is symmetric.")
        .def("bytes", &PackedWeight::bytes)
        .def("to", [](const PackedWeight& self, const std::string& device) {
            return run_engine([&] { return self.to(at::Device(device)); });
        });
    module.def(
        "quantize",
        [](const at::Tensor& weight, const std::string& weights) {
            return run_engine([&] { return codec(weights).quantize(weight); });
        },
        py::arg("weight"), py::arg("weights"),
        "float32 [out, in] or [out, in, kernel, kernel] -> PackedWeight.");
    module.def(
        "dequantize",
        [](const PackedWeight& packed, const std::string& weights, const std::string& compute) {
            return run_engine([&] {
                return codec(weights).dequantize(packed, scalar_type(parse_compute_type(compute)));
            });
        },
        py::arg("packed"), py::arg("weights"), py::arg("compute") = "fp32", "The inverse.");
    module.def(
        "group_norm",
        [](const at::Tensor& x, std::int64_t groups, const at::Tensor& weight,
           const at::Tensor& bias, double eps, bool silu) {
            return run_engine([&] { return group_norm({x, groups, weight, bias, eps, silu}); });
        },
        py::arg("x"), py::arg("groups"), py::arg("weight"), py::arg("bias"), py::arg("eps"),
        py::arg("silu"), "GroupNorm over [rows, channels, height, width], then SiLU if asked.");
}

void bind_text_encoder(py::module_& module) {
    py::class_<TextEncoder, std::shared_ptr<TextEncoder>>(module, "TextEncoder")
        .def(py::init([](const WeightSource& source, const std::string& weights, std::int64_t heads,
                         const std::string& device, const std::string& preset, std::size_t index) {
                 return run_engine([&] {
                     TextEncoderSpec spec =
                         text_encoder_spec(source, family_with_preset(preset), index);
                     if (heads > 0) spec.heads = heads;
                     return std::make_shared<TextEncoder>(source, options(weights, "fp32", device),
                                                          std::move(spec));
                 });
             }),
             py::arg("source"), py::arg("weights") = "int8", py::arg("heads") = 0,
             py::arg("device") = "cpu", py::arg("preset") = all_families().back()->preset,
             py::arg("index") = 0,
             "preset: of the family; index: of its text encoders the first or a further one.")
        .def(
            "forward",
            [](const TextEncoder& self, const at::Tensor& ids,
               const std::vector<std::int64_t>& positions, const std::optional<at::Tensor>& vectors,
               std::int64_t clip_skip) {
                return run_engine([&] {
                    const TextOutput out =
                        self.forward(ids, {positions, vectors.value_or(at::Tensor())}, clip_skip);
                    return std::make_pair(out.hidden, out.pooled.defined()
                                                          ? std::optional(out.pooled)
                                                          : std::nullopt);
                });
            },
            py::arg("ids"), py::arg("positions") = std::vector<std::int64_t>{},
            py::arg("vectors") = py::none(), py::arg("clip_skip") = 1,
            "ids [rows or 1, tokens] -> (hidden [rows, tokens, width], pooled [rows, width] "
            "or None); "
            "vectors [rows, positions, width] replace the looked-up ones.")
        .def("token_vector", &TextEncoder::token_vector, py::arg("id"));
}

void bind_unet(py::module_& module) {
    py::class_<UNet, std::shared_ptr<UNet>>(module, "UNet")
        .def(py::init([](const WeightSource& source, const std::string& weights,
                         const std::string& compute, std::int64_t heads, const std::string& device,
                         std::int64_t head_width) {
                 return run_engine([&] {
                     return std::make_shared<UNet>(source, options(weights, compute, device),
                                                   HeadRule{.count = heads, .width = head_width});
                 });
             }),
             py::arg("source"), py::arg("weights") = "int8", py::arg("compute") = "fp32",
             py::arg("heads") = 8, py::arg("device") = "cpu", py::arg("head_width") = 0,
             "heads in every block, or one for head_width channels each.")
        .def(
            "forward",
            [](const UNet& self, const at::Tensor& sample, const at::Tensor& timesteps,
               const at::Tensor& context, const std::optional<at::Tensor>& y) {
                return run_engine([&] { return self.forward(sample, timesteps, {context, y}); });
            },
            py::arg("sample"), py::arg("timesteps"), py::arg("context"), py::arg("y") = py::none(),
            "sample [rows or 1, 4, h, w], timesteps float [rows or 1], context [rows, tokens, "
            "width], y [rows, numbers] -> [rows, 4, h, w].");
}

template <class Coder, auto Load>
void bind_coder(py::module_& module, const char* name) {
    py::class_<Coder, std::shared_ptr<Coder>>(module, name)
        .def(py::init([](const WeightSource& source, const std::string& weights,
                         const std::string& device, bool whole, const std::string& compute) {
                 return run_engine([&]() -> std::shared_ptr<Coder> {
                     return Load(source, whole ? detect_architecture(source) : Architecture{},
                                 options(weights, compute, device));
                 });
             }),
             py::arg("source"), py::arg("weights") = "int8", py::arg("device") = "cpu",
             py::arg("whole") = true, py::arg("compute") = "fp32",
             "whole: the source is a checkpoint; otherwise it holds a KL autoencoder alone.")
        .def(std::is_same_v<Coder, LatentEncoder> ? "encode" : "decode",
             [](const Coder& self, const at::Tensor& x) {
                 return run_engine([&] {
                     if constexpr (std::is_same_v<Coder, LatentEncoder>) {
                         const Moments moments = self.encode(x);
                         return std::make_pair(moments.mean, moments.deviation);
                     } else {
                         return self.decode(x);
                     }
                 });
             });
}

}  // namespace

void bind_nn(py::module_& module) {
    bind_ops(module);
    bind_text_encoder(module);
    bind_unet(module);
    bind_coder<LatentEncoder, load_latent_encoder>(module, "LatentEncoder");
    bind_coder<LatentDecoder, load_latent_decoder>(module, "LatentDecoder");
}

}  // namespace zoodip
