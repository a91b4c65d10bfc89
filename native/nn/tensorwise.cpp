#include "nn/tensorwise.h"

#include <string_view>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"
#include "nn/inventory.h"
#include "ops/finite.h"

namespace zoodip {
namespace {

constexpr std::string_view description_end = ".comfy_quant";
constexpr std::string_view scale_end = "_scale";
constexpr const char* remedy =
    ". Give the checkpoint in fp16, bf16 or fp32 (zoodip quantises it itself), or in "
    "int8_tensorwise without rotation";

std::string scale_name(const WeightInfo& info) {
    return info.name + std::string(scale_end);
}

std::string without(const std::string& name, std::string_view end) {
    return name.substr(0, name.size() - end.size());
}

void refuse_other_format(const WeightSource& weights, const std::string& layer,
                         const nlohmann::json& description) {
    const bool named = description.is_object() && description.contains("format");
    require(named && description["format"] == "int8_tensorwise", weights.description(), ": '",
            layer, "' is quantised as ", named ? show_json(description["format"]) : "nothing known",
            remedy);
    const nlohmann::json inner = description.value("params", nlohmann::json::object());
    const auto rotates = [](const nlohmann::json& where) {
        return where.is_object() && where.contains("convrot") && where["convrot"] != false;
    };
    require(!rotates(description) && !rotates(inner), weights.description(), ": '", layer,
            "' was rotated before it was quantised (convrot)", remedy);
}

}  // namespace

bool is_tensorwise(const WeightSource& weights, const WeightInfo& info) {
    return info.dtype == at::kChar && is_layer_weight(info) && weights.has(scale_name(info));
}

at::Tensor tensorwise_scale(const WeightSource& weights, const WeightInfo& info) {
    const std::string name = scale_name(info);
    const at::Tensor stored = weights.get(name);
    const std::int64_t rows = info.shape.at(0), count = stored.numel();
    require(at::isFloatingType(stored.scalar_type()) && (count == 1 || count == rows),
            weights.description(), ": '", name, "' is ", stored.toString(), " ", stored.sizes(),
            ", expected one number or ", rows, " in floating point, as '", info.name,
            "' has rows. The file is damaged: get it anew");
    require(all_finite(stored), weights.description(), ": '", name,
            "' holds NaN or infinity. The file is damaged; use another copy");
    return stored.to(at::kFloat).reshape({-1}).expand({rows}).contiguous();
}

void refuse_other_formats(const WeightSource& weights) {
    for (const WeightInfo& info : weights.list()) {
        if (info.name.ends_with(".weight_scale")) {
            const WeightInfo* weight = weights.find(without(info.name, scale_end));
            require(weight != nullptr && weight->dtype == at::kChar, weights.description(),
                    ": holds weights in scaled fp8 ('", info.name, "')", remedy);
        }
        require(!info.name.ends_with(".pre_quant_scale"), weights.description(), ": '", info.name,
                "' scales what goes into a layer before it is quantised", remedy);
        if (!info.name.ends_with(description_end)) continue;
        const at::Tensor bytes = weights.get(info.name).contiguous();
        const std::string text(static_cast<const char*>(bytes.const_data_ptr()), bytes.nbytes());
        refuse_other_format(weights, without(info.name, description_end), parse_json(text));
    }
    const auto found = weights.metadata().find("_quantization_metadata");
    if (found == weights.metadata().end()) return;
    const nlohmann::json all = parse_json(found->second);
    const auto layers = all.is_object() ? all.find("layers") : all.end();
    require(layers != all.end() && layers->is_object(), weights.description(),
            ": metadata _quantization_metadata names no layers. The file is damaged: get it anew");
    for (const auto& [layer, description] : layers->items()) {
        refuse_other_format(weights, layer, description);
    }
}

}  // namespace zoodip
