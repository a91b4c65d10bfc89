#include "reports/quant_report.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <string>

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include "core/error.h"
#include "nn/family.h"
#include "nn/inventory.h"
#include "nn/loader.h"
#include "ops/weight_codec.h"
#include "settings/settings.h"

namespace zoodip {
namespace {

using nlohmann::json;

struct PartReport {
    std::int64_t parameters = 0, quantised = 0;
    std::int64_t bytes_before = 0, bytes_after = 0;
    std::int64_t layers = 0;
    double error_sum = 0, worst_error = 0;
    std::string worst_layer;

    void take_error(const std::string& layer, double error) {
        ++layers;
        error_sum += error;
        if (worst_layer.empty() || error > worst_error) {
            worst_error = error;
            worst_layer = layer;
        }
    }
};

PartReport sum(PartReport a, const PartReport& b) {
    a.parameters += b.parameters;
    a.quantised += b.quantised;
    a.bytes_before += b.bytes_before;
    a.bytes_after += b.bytes_after;
    a.layers += b.layers;
    a.error_sum += b.error_sum;
    if (a.worst_layer.empty() || b.worst_error > a.worst_error) {
        a.worst_error = b.worst_error;
        a.worst_layer = b.worst_layer;
    }
    return a;
}

json describe(const PartReport& part) {
    const auto mean = [](double total, std::int64_t count) {
        return count == 0 ? 0.0 : total / static_cast<double>(count);
    };
    return {{"parameters", part.parameters},
            {"quantised", part.quantised},
            {"share", mean(static_cast<double>(part.quantised), part.parameters)},
            {"bytes_before", part.bytes_before},
            {"bytes_after", part.bytes_after},
            {"layers", part.layers},
            {"mean_error", mean(part.error_sum, part.layers)},
            {"worst_error", part.worst_error},
            {"worst_layer", part.worst_layer}};
}

double square_sum(const at::Tensor& x) {
    return x.square().sum().item<double>();
}

// |W - W_q| / |W|, in float64 and a few output channels at a time.
double layer_error(const at::Tensor& weight, const at::Tensor& quantised) {
    const std::int64_t row = weight.numel() / std::max<std::int64_t>(1, weight.size(0));
    const std::int64_t rows = std::max<std::int64_t>(1, (1 << 20) / std::max<std::int64_t>(1, row));
    double error = 0, size = 0;
    for (std::int64_t begin = 0; begin < weight.size(0); begin += rows) {
        const std::int64_t count = std::min(rows, weight.size(0) - begin);
        const at::Tensor exact = weight.narrow(0, begin, count).to(at::kDouble);
        size += square_sum(exact);
        error += square_sum(quantised.narrow(0, begin, count) - exact);
    }
    return size == 0 ? 0 : std::sqrt(error / size);
}

// What a tensor that is no layer's weight takes in memory: as Loader keeps it.
std::int64_t held_bytes(const WeightInfo& info) {
    const std::int64_t in_float32 = count_numbers(info) * static_cast<std::int64_t>(sizeof(float));
    return is_token_table(info) ? std::min(stored_bytes(info), in_float32) : in_float32;
}

void take(const WeightInfo& info, const WeightCodec& codec, const Loader& loader,
          PartReport& part) {
    part.parameters += count_numbers(info);
    part.bytes_before += stored_bytes(info);
    if (!is_layer_weight(info)) {
        part.bytes_after += held_bytes(info);
        return;
    }
    const at::Tensor weight = loader.parameter(info.name);
    const PackedWeight packed = codec.quantize(weight);
    part.quantised += count_numbers(info);
    part.bytes_after += packed.bytes();
    part.take_error(info.name, layer_error(weight, codec.dequantize(packed, at::kFloat)));
}

const WeightCodec& codec_of(WeightType chosen, Part part) {
    const WeightCodec* codec = find_codec(part_weight_type(chosen, part));
    require(codec != nullptr, "weights: dense ones are not quantised, choose int8 or int4");
    return *codec;
}

struct NamedPart {
    Part part;
    const char* name;
};
constexpr std::array parts = {NamedPart{Part::unet, "unet"},
                              NamedPart{Part::text_encoder, "text_encoder"},
                              NamedPart{Part::vae, "vae"}};

}  // namespace

json report_quantisation(const std::filesystem::path& model, const json& chosen,
                         const std::function<void(std::int64_t, std::int64_t)>& on_tensor,
                         const CancelToken& cancel) {
    const auto source = open_weights(model);
    const TrainSettings settings = resolve_settings(chosen, detect_architecture(*source));
    const WeightType weights = settings.weights;
    const auto total = static_cast<std::int64_t>(source->list().size());
    std::int64_t done = 0;
    std::array<PartReport, parts.size()> reports;
    const Loader loader(*source, {.weights = weights, .cancel = cancel}, Part::unet);
    for (const WeightInfo& info : source->list()) {
        if (const std::optional<Part> part = part_of(info.name)) {
            take(info, codec_of(weights, *part), loader, reports[static_cast<std::size_t>(*part)]);
        }
        on_tensor(++done, total);
    }
    json out = {{"weights", name_of(weight_type_names(), weights)}, {"parts", json::object()}};
    PartReport all;
    for (const auto& [part, name] : parts) {
        const PartReport& report = reports[static_cast<std::size_t>(part)];
        json& described = out["parts"][name] = describe(report);
        described["weights"] = codec_of(weights, part).name;
        all = sum(all, report);
    }
    out["all"] = describe(all);
    return out;
}

}  // namespace zoodip
