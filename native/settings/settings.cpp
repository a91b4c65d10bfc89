#include "settings/settings.h"

#include <algorithm>
#include <cmath>

#include "nn/families.h"
#include "ops/panel_product.h"
#include "pictures/caption_templates.h"
#include "zo/estimator.h"

namespace zoodip {
namespace {

nlohmann::json preset_values(const std::string& name) {
    auto values = nlohmann::json::object();
    for (const auto& [setting, value] : family_with_preset(name).values) {
        const bool whole = std::floor(value) == value;
        values[setting] =
            whole ? nlohmann::json(static_cast<std::int64_t>(value)) : nlohmann::json(value);
    }
    return values;
}

// The values of a preset suit its estimates; the exact gradient has its own.
nlohmann::json preset_for(const TrainSettings& chosen, const Architecture& architecture) {
    std::string name = chosen.preset;
    if (name == "auto") name = architecture.preset;
    nlohmann::json values = preset_values(name);
    if (chosen.method == "exact") {
        for (const char* own : {"steps", "learning_rate"}) values.erase(own);
    }
    return values;
}

std::int64_t default_tau(std::int64_t text_width) {
    if (text_width >= 768) return 128;
    return std::max<std::int64_t>(2, std::lround(static_cast<double>(text_width) / 6.0));
}

void fill_in_noise(TrainSettings& settings, const Architecture& architecture) {
    const BetaSchedule& betas = architecture.betas;
    if (settings.prediction == "auto") {
        settings.prediction = architecture.prediction == Prediction::v ? "v" : "epsilon";
    }
    if (settings.zero_snr == "auto") settings.zero_snr = betas.zero_snr ? "on" : "off";
    if (settings.beta_schedule == "auto") settings.beta_schedule = betas.kind;
    if (settings.beta_schedule != "scaled_linear" && settings.beta_schedule != "linear") return;
    if (settings.beta_start == 0) settings.beta_start = betas.start;
    if (settings.beta_end == 0) settings.beta_end = betas.end;
}

void fill_in(TrainSettings& settings, const Architecture& architecture) {
    if (settings.compute == "auto") settings.compute = "fp32";  // chosen before, for a run
    const bool exact = settings.method == "exact";
    const bool integers = settings.compute == "int8";
    const bool coarse = settings.compute == "bf16" || settings.weights == "int4";
    if (settings.steps == 0) settings.steps = exact ? 1000 : 30000;
    if (settings.learning_rate == 0) settings.learning_rate = exact ? 1e-2 : 5e-3;
    if (settings.mu == 0) settings.mu = integers ? 2e-2 : coarse ? 1e-2 : 1e-3;
    if (settings.tau == 0) settings.tau = default_tau(architecture.text_width());
    if (settings.resolution == 0) settings.resolution = architecture.resolution;
    fill_in_noise(settings, architecture);
    settings.average_steps = std::min(settings.average_steps, settings.steps);
}

void require_least(const char* name, double least, double value) {
    require(value >= least, name, ": needs at least ", format_number(least),
            ", or 0 for the default, got ", format_number(value));
}

void check(const TrainSettings& settings) {
    require_least("mu", 1e-8, settings.mu);
    require_least("learning_rate", 1e-8, settings.learning_rate);
    require_least("tau", 2, static_cast<double>(settings.tau));
    require_least("resolution", 64, static_cast<double>(settings.resolution));
    require(settings.resolution % 8 == 0, "resolution: needs a multiple of 8, got ",
            settings.resolution);
    require(settings.t_lower < settings.t_upper, "t_lower: needs to be below t_upper, got ",
            settings.t_lower, " and ", settings.t_upper);
    require(settings.slope == "loss" || settings.method == "rge",
            "slope: residual is defined for method rge, which looks at theta itself, got method ",
            settings.method);
    const bool integers = settings.compute == "int8";
    require(!integers || settings.weights == "int8",
            "compute: int8 multiplies weights in int8, got weights ", settings.weights);
    require(
        !integers || settings.method != "exact",
        "compute: products of integers have no exact gradient; use bf16 or fp32, or method rge");
    caption_templates(settings.templates);  // throws for lines that cannot be used
    const bool related = settings.directions == "related";
    require(related == !settings.related_words.empty(), "related_words: ",
            related ? "needs words, with spaces between, for directions related; got none"
                    : "is for directions related, got directions " + settings.directions);
    require(settings.early_stop == 0 || settings.validate_every > 0,
            "early_stop: needs validate_every above 0, got 0");
    require(settings.take == "last" || settings.validate_every > 0,
            "take: best needs validate_every above 0, got 0");
}

}  // namespace

TrainSettings resolve_settings(const nlohmann::json& chosen, const Architecture& architecture) {
    const auto& fields = train_setting_fields();
    TrainSettings asked;
    set_fields(asked, fields, chosen);
    if (asked.method == "auto") asked.method = "rge";
    TrainSettings settings;
    set_fields(settings, fields, preset_for(asked, architecture));
    set_fields(settings, fields, chosen);
    settings.method = asked.method;
    fill_in(settings, architecture);
    check(settings);
    return settings;
}

nlohmann::json result_settings(const TrainSettings& settings) {
    nlohmann::json out = nlohmann::json::object();
    for (const auto& field : train_setting_fields()) {
        if (field.decides) out[field.name] = get_field(settings, field);
    }
    return out;
}

StepPasses passes_of(const TrainSettings& settings) {
    if (settings.method == "exact") return {settings.batch, settings.batch};
    return {settings.batch * make_estimator(settings.method, settings.mu)->passes(settings.n), 0};
}

std::int64_t points_of(const TrainSettings& settings) {
    return passes_of(settings).forward / settings.batch;
}

}  // namespace zoodip
