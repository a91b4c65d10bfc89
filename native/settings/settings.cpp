#include "settings/settings.h"

#include <algorithm>
#include <cmath>

#include "nn/families.h"
#include "pictures/caption_templates.h"

namespace zoodip {
namespace {

using Values = std::vector<std::pair<const char*, nlohmann::json>>;

// Measured to take fewer passes to the same held-out loss than the paper's values (python -m
// zoodip.bench learn): the subspace gradient takes a smooth path's own directions away, and a rate
// that does not fall leaves a word where the last samples threw it.
const Values& exact_values() {
    static const Values values = {{"subspace", false}, {"learning_rate_schedule", "inverse"}};
    return values;
}
// A run of a set length within what the text encoder is sensitive to.
const Values& few_passes_values() {
    static const Values values = {{"directions", "sensitive"},
                                  {"slope", "residual"},
                                  {"n", 8},
                                  {"subspace", false},
                                  {"learning_rate_schedule", "linear"}};
    return values;
}

// What a family's values know of the paper's estimates alone.
const std::set<std::string> of_estimates = {"steps", "learning_rate"};

// Whether how fast and how long is to be learned is the paper's.
bool keeps_to_paper(const TrainSettings& settings) {
    const bool exact = settings.method == exact_gradient;
    return settings.preset.kind == Preset::paper ||
           (settings.preset.kind == Preset::usual && !exact);
}

// Puts a preset's values in the place of what was not chosen.
void apply_preset(const AskedSettings& asked, const Family& of_model, TrainSettings& settings) {
    const bool exact = settings.method == exact_gradient;
    const bool all_of_family = keeps_to_paper(settings) && !exact;
    const auto take = [&](const std::string& name, const nlohmann::json& value) {
        if (asked.chosen.contains(name)) return;
        set_field(settings, find_setting(train_setting_fields(), name), value);
    };
    const Family* named = settings.preset.family;
    for (const auto& [name, value] : (named != nullptr ? *named : of_model).values) {
        if (of_estimates.contains(name) && !all_of_family) continue;
        const bool whole = std::floor(value) == value;
        take(name,
             whole ? nlohmann::json(static_cast<std::int64_t>(value)) : nlohmann::json(value));
    }
    if (keeps_to_paper(settings)) return;
    for (const auto& [name, value] : exact ? exact_values() : few_passes_values()) {
        const bool defined = exact || settings.method->estimator->begins_at_theta;
        if (std::string(name) != "slope" || defined) take(name, value);
    }
}

std::int64_t default_tau(std::int64_t text_width) {
    if (text_width >= 768) return 128;
    return std::max<std::int64_t>(2, std::lround(static_cast<double>(text_width) / 6.0));
}

void fill_in_noise(TrainSettings& settings, const Architecture& architecture) {
    const BetaSchedule& betas = architecture.betas;
    settings.prediction = settings.prediction.value_or(architecture.prediction);
    settings.zero_snr = settings.zero_snr.value_or(betas.zero_snr);
    settings.beta_schedule = settings.beta_schedule.value_or(betas.kind);
    if (!has_bounds(*settings.beta_schedule)) return;
    if (settings.beta_start == 0) settings.beta_start = betas.start;
    if (settings.beta_end == 0) settings.beta_end = betas.end;
}

void fill_in_zeros(TrainSettings& settings, const Architecture& architecture) {
    const bool exact = settings.method == exact_gradient;
    const bool integers = settings.compute == ComputeType::int8;
    const bool coarse =
        settings.compute == ComputeType::bfloat16 || settings.weights == WeightType::int4;
    if (keeps_to_paper(settings)) {
        if (settings.steps == 0) settings.steps = exact ? 1000 : 30000;
        if (settings.learning_rate == 0) settings.learning_rate = exact ? 1e-2 : 5e-3;
        if (settings.adam_eps == 0) settings.adam_eps = 1e-3;
    }
    if (settings.steps == 0) settings.steps = exact ? 500 : 300;
    if (settings.adam_eps == 0) settings.adam_eps = 1e-8;
    if (settings.mu == 0) settings.mu = integers ? 2e-2 : coarse ? 1e-2 : 1e-3;
    if (settings.tau == 0) settings.tau = default_tau(architecture.text_width());
    if (settings.resolution == 0) settings.resolution = architecture.resolution;
    settings.average_steps = std::min(settings.average_steps, settings.steps);
}

void require_least(const char* name, double least, double value) {
    require(value >= least, name, ": needs at least ", format_number(least),
            ", or 0 for the default, got ", format_number(value));
}

void check(const TrainSettings& settings) {
    require_least("mu", 1e-8, settings.mu);
    if (settings.learning_rate != 0) require_least("learning_rate", 1e-8, settings.learning_rate);
    require_least("tau", 2, static_cast<double>(settings.tau));
    require_least("resolution", 64, static_cast<double>(settings.resolution));
    require(settings.resolution % 8 == 0, "resolution: needs a multiple of 8, got ",
            settings.resolution);
    require(settings.t_lower < settings.t_upper, "t_lower: needs to be below t_upper, got ",
            settings.t_lower, " and ", settings.t_upper);
    const bool exact = settings.method == exact_gradient;
    require(settings.slope != Slope::residual ||
                (!exact && settings.method->estimator->begins_at_theta),
            "slope: residual is defined for method rge, which looks at theta itself, got method ",
            name_of(method_names(), settings.method));
    const bool integers = settings.compute == ComputeType::int8;
    require(!integers || settings.weights == WeightType::int8,
            "compute: int8 multiplies weights in int8, got weights ",
            name_of(weight_type_names(), settings.weights));
    require(
        !integers || !exact,
        "compute: products of integers have no exact gradient; use bf16 or fp32, or method rge");
    caption_templates(settings.templates);  // throws for lines that cannot be used
    const bool related = settings.directions == Directions::related;
    require(related == !settings.related_words.empty(), "related_words: ",
            related ? "needs words, with spaces between, for directions related; got none"
                    : "is for directions related, got directions " +
                          name_of(directions_names(), settings.directions));
    require(exact || settings.directions != Directions::sensitive ||
                settings.n <= settings.direction_rank,
            "n: needs at most direction_rank slopes a step, ", settings.direction_rank,
            ", as sensitive directions of a step are orthogonal; got ", settings.n);
    require(settings.early_stop == 0 || settings.validate_every > 0,
            "early_stop: needs validate_every above 0, got 0");
    require(settings.take == Take::last || settings.validate_every > 0,
            "take: best needs validate_every above 0, got 0");
}

}  // namespace

bool runs_on_cpu(const TrainSettings& settings) {
    return settings.device == "cpu";
}

void AskedSettings::choose(const std::string& name, const nlohmann::json& value) {
    set_field(values, find_setting(train_setting_fields(), name), value);
    chosen.insert(name);
}

AskedSettings read_settings(const nlohmann::json& chosen) {
    AskedSettings asked;
    set_fields(asked.values, train_setting_fields(), chosen);
    for (const auto& [name, value] : chosen.items()) asked.chosen.insert(name);
    return asked;
}

TrainSettings fill_in(const AskedSettings& asked, const Architecture& architecture) {
    TrainSettings settings = asked.values;
    settings.method = settings.method.value_or(usual_estimate());
    settings.compute = settings.compute.value_or(ComputeType::float32);
    apply_preset(asked, family_with_preset(architecture.preset), settings);
    fill_in_zeros(settings, architecture);
    fill_in_noise(settings, architecture);
    check(settings);
    return settings;
}

TrainSettings resolve_settings(const nlohmann::json& chosen, const Architecture& architecture) {
    return fill_in(read_settings(chosen), architecture);
}

nlohmann::json result_settings(const TrainSettings& settings) {
    nlohmann::json out = nlohmann::json::object();
    for (const auto& field : train_setting_fields()) {
        if (field.decides) out[field.name] = get_field(settings, field);
    }
    return out;
}

StepPasses passes_of(const TrainSettings& settings) {
    if (settings.method == exact_gradient) return {settings.batch, settings.batch};
    const auto estimator = settings.method->estimator->make(settings.mu);
    return {settings.batch * estimator->passes(settings.n), 0};
}

std::int64_t points_of(const TrainSettings& settings) {
    return passes_of(settings).forward / settings.batch;
}

}  // namespace zoodip
