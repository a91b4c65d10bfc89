#include "train/compute_choice.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <optional>
#include <vector>

#include <nlohmann/json.hpp>
#include <torch/version.h>

#include "core/error.h"
#include "core/json.h"
#include "core/log.h"
#include "core/settings.h"
#include "core/sha256.h"
#include "io/atomic_file.h"
#include "io/cache_folder.h"
#include "nn/unet.h"
#include "nn/unet_work.h"
#include "objective/engine.h"
#include "ops/cpu_isa.h"
#include "ops/product_speed.h"
#include "ops/types.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Seconds = std::map<ComputeType, double>;

constexpr std::size_t timed_layers = 2;  // of convolutions and of linear layers, the heaviest
constexpr std::uint64_t largest_file = 1 << 20;

struct Candidate {
    ComputeType compute;
    ProductType type;
    at::ScalarType attention;
    double steps;
};

// From the most exact.
const std::vector<Candidate>& candidates() {
    static const std::vector<Candidate> all = {
        {ComputeType::float32, ProductType::float32, at::kFloat, 1.0},
        {ComputeType::bfloat16, ProductType::bfloat16, at::kBFloat16, 1.18},
        {ComputeType::int8, ProductType::int8, at::kBFloat16, 1.19},
    };
    return all;
}

std::string called(ComputeType type) {
    return name_of(compute_type_names(), type);
}

std::vector<Candidate> candidates_for(const TrainSettings& settings) {
    std::vector<Candidate> all;
    for (const Candidate& one : candidates()) {
        const bool suits = one.type != ProductType::int8 || (settings.weights == WeightType::int8 &&
                                                             settings.method != exact_gradient);
        if (suits && has_panel_product(one.type)) all.push_back(one);
    }
    return all;
}

// How a step passes through the UNet.
struct Passes {
    std::int64_t rows = 1;  // of a sample
    bool gradient = false;  // forwards, forwards again and backwards
};

Passes passes_for(const TrainSettings& settings) {
    if (settings.method == exact_gradient) return {1, true};
    const std::int64_t points = points_of(settings);
    return {settings.chunk == 0 ? points : std::min(points, settings.chunk), false};
}

bool is_linear(const LayerWork& layer) {
    return layer.weight.size() == 2;
}

// What is timed of a UNet: its heaviest layers, which stand for the others of their kind.
struct Timed {
    std::vector<LayerWork> layers;
    double linear = 0, convolution = 0;  // multiply-adds of all layers of the kind
    std::optional<AttentionWork> attention;
    double attentions = 0;  // what all of them cost, in those of the one that is timed
    std::int64_t heads = 1;
};

double cost_of(const AttentionWork& work) {
    return static_cast<double>(work.tokens * work.tokens * work.channels);
}

Timed what_to_time(const WeightSource& source, std::int64_t side) {
    const UNetWork work = unet_work(source, side, side);
    Timed timed;
    std::size_t linear = 0, convolutions = 0;
    for (const LayerWork& layer : work.layers) {
        (is_linear(layer) ? timed.linear : timed.convolution) += layer.products;
        if ((is_linear(layer) ? linear : convolutions)++ < timed_layers) {
            timed.layers.push_back(layer);
        }
    }
    for (const AttentionWork& one : work.attention) {
        if (!timed.attention || cost_of(one) > cost_of(*timed.attention)) timed.attention = one;
    }
    for (const AttentionWork& one : work.attention) {
        timed.attentions +=
            static_cast<double>(one.layers) * cost_of(one) / cost_of(*timed.attention);
    }
    return timed;
}

ProductCase case_of(const LayerWork& layer, std::int64_t rows) {
    const std::int64_t together =
        UNet::rows_together(layer.height, std::max<std::int64_t>(1, layer.width), rows);
    return {layer.weight, together, layer.height, layer.width, layer.stride};
}

// Seconds of a sample's passes, by type.
Seconds time_products(const Timed& timed, const Passes& passes,
                      const std::vector<Candidate>& types) {
    std::map<ComputeType, std::array<double, 2>> spent;  // by kind of layer
    std::array<double, 2> products{};
    for (const LayerWork& layer : timed.layers) {
        const ProductCase of = case_of(layer, passes.rows);
        const ProductSpeed speed(of);
        const std::size_t kind = is_linear(layer) ? 0 : 1;
        products[kind] +=
            layer.products / static_cast<double>(layer.layers) * static_cast<double>(of.rows);
        for (const Candidate& type : types) {
            const double forward = speed.forward(type.type);
            spent[type.compute][kind] +=
                passes.gradient ? 2 * forward + speed.backward(type.type) : forward;
        }
    }
    Seconds seconds;
    for (const Candidate& type : types) {
        const std::array<double, 2> all = {timed.linear, timed.convolution};
        double sum = 0;
        for (std::size_t kind = 0; kind < 2; ++kind) {
            if (products[kind] > 0) sum += spent[type.compute][kind] * all[kind] / products[kind];
        }
        if (timed.attention) {
            const AttentionWork& one = *timed.attention;
            const double once =
                attention_seconds(1, one.tokens, one.channels, timed.heads, type.attention);
            sum += once * timed.attentions * (passes.gradient ? 4 : 1);
        }
        seconds[type.compute] = sum * static_cast<double>(passes.rows);
    }
    return seconds;
}

// ------------------------------------------------------------------------------- kept timings

// All that decides a timing.
std::string key_of(const Timed& timed, const Passes& passes, int threads) {
    json parts = {processor_name(), name_of(cpu_isa()), threads,         ZOODIP_VERSION,
                  TORCH_VERSION,    passes.rows,        passes.gradient, timed.heads};
    for (const char* name : {"ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"}) {
        const char* value = std::getenv(name);
        parts.push_back(value == nullptr ? "" : value);
    }
    for (const LayerWork& layer : timed.layers) {
        parts.push_back({layer.weight, layer.height, layer.width, layer.products});
    }
    if (timed.attention) parts.push_back({timed.attention->tokens, timed.attention->channels});
    Sha256 hash;
    const std::string text = show_json(parts);
    hash.update(std::as_bytes(std::span(text)));
    return hash.hex().substr(0, 32);
}

fs::path kept_timings() {
    const fs::path folder = cache_folder();
    return folder.empty() ? folder : folder / "products.json";
}

// Nothing where there are none, or they cannot be read: they are made again.
json read_timings(const fs::path& file) {
    try {
        const auto bytes = read_file(file, largest_file);
        const json found = parse_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
        if (found.is_object()) return found;
    } catch (const Error&) {
        // as if there were none
    }
    return json::object();
}

std::optional<Seconds> find_timing(const std::string& key, const std::vector<Candidate>& types) {
    const fs::path file = kept_timings();
    if (file.empty()) return std::nullopt;
    const json all = read_timings(file);
    const auto found = all.find(key);
    if (found == all.end() || !found->is_object()) return std::nullopt;
    Seconds seconds;
    for (const Candidate& type : types) {
        const json value = found->value(called(type.compute), json());
        if (!value.is_number() || !(value.get<double>() > 0)) return std::nullopt;
        seconds[type.compute] = value;
    }
    return seconds;
}

// A cache that cannot be written is done without.
void keep_timing(const std::string& key, const Seconds& seconds) {
    const fs::path file = kept_timings();
    if (file.empty()) return;
    json all = read_timings(file);
    json& kept = all[key] = json::object();
    for (const auto& [type, spent] : seconds) kept[called(type)] = spent;
    const std::string text = all.dump(1) + "\n";
    const auto bytes = std::as_bytes(std::span(text));
    std::error_code ignored;
    fs::create_directories(file.parent_path(), ignored);
    try {
        write_file_atomic(file, {&bytes, 1});
    } catch (const Error& error) {
        log_info("timings of products are not kept: ", error.what());
    }
}

// 2.34 -> "2.3 s", .0123 -> "12 ms"
std::string duration(double seconds) {
    const double shown = seconds < 1 ? 1000 * seconds : seconds;
    const double step = std::pow(10, std::floor(std::log10(std::max(shown, 1e-9))) - 1);
    return format_number(std::round(shown / step) * step) + (seconds < 1 ? " ms" : " s");
}

std::string reason_of(ComputeType chosen, const Seconds& seconds) {
    std::string text = concat("compute auto takes ", called(chosen), ": products of a step take ");
    bool first = true;
    for (const Candidate& type : candidates()) {
        const auto found = seconds.find(type.compute);
        if (found == seconds.end()) continue;
        text += concat(first ? "" : ", ", duration(found->second), " in ", called(type.compute));
        first = false;
    }
    return text + " on this processor";
}

// Those that an estimate may be made in. Of the gain that float32 reaches within sensitive
// directions on the demo model, integers reach two thirds: there slopes are what is left of small
// differences.
Seconds sound(Seconds seconds, const TrainSettings& settings) {
    if (settings.method != exact_gradient && settings.directions == Directions::sensitive) {
        seconds.erase(ComputeType::int8);
    }
    return seconds;
}

std::optional<ComputeType> asked_for() {
    const char* value = std::getenv("ZOODIP_COMPUTE");
    if (value == nullptr || *value == '\0') return std::nullopt;
    return parse_compute_type(value);
}

}  // namespace

double step_factor(ComputeType compute) {
    const auto& all = candidates();
    const auto is_it = [&](const Candidate& one) { return one.compute == compute; };
    return std::find_if(all.begin(), all.end(), is_it)->steps;
}

ComputeType quickest(const Seconds& seconds) {
    ComputeType best = ComputeType::float32;
    double least = std::numeric_limits<double>::infinity();
    for (const Candidate& one : candidates()) {
        const auto found = seconds.find(one.compute);
        if (found == seconds.end() || found->second * one.steps >= least) continue;
        least = found->second * one.steps;
        best = one.compute;
    }
    return best;
}

ComputeChoice choose_compute(const TrainSettings& settings, const WeightSource& source) {
    if (!runs_on_cpu(settings) || settings.weights == WeightType::dense) {
        return {ComputeType::float32,
                {},
                "compute auto takes fp32, the type of these weights' products"};
    }
    const std::vector<Candidate> types = candidates_for(settings);
    if (const auto asked = asked_for()) {
        const bool runs = std::any_of(types.begin(), types.end(), [&](const Candidate& type) {
            return *asked == type.compute;
        });
        const ComputeType taken = runs ? *asked : ComputeType::float32;
        return {
            taken, {}, concat("compute auto takes ", called(taken), ", as ZOODIP_COMPUTE says")};
    }
    if (types.empty())
        return {ComputeType::float32, {}, "compute auto takes fp32, all that this processor has"};
    const Passes passes = passes_for(settings);
    Timed timed = what_to_time(source, settings.resolution / 8);
    const HeadRule heads = detect_architecture(source).unet_heads;
    if (timed.attention) {
        timed.heads = std::max<std::int64_t>(1, heads.of(timed.attention->channels));
        if (timed.attention->channels % timed.heads != 0) timed.heads = 1;
    }
    const ThreadCount threads(settings.threads);
    const std::string key = key_of(timed, passes, threads_of_pool());
    std::optional<Seconds> seconds = find_timing(key, types);
    if (!seconds) {
        seconds = time_products(timed, passes, types);
        keep_timing(key, *seconds);
    }
    const ComputeType chosen = quickest(sound(*seconds, settings));
    std::string reason = reason_of(chosen, *seconds);
    if (const ComputeType other = quickest(*seconds); other != chosen) {
        reason += concat("; ", called(other), " is quicker, but slopes along sensitive directions ",
                         "drown in what it rounds away");
    }
    return {chosen, *seconds, reason};
}

}  // namespace zoodip
