#include "train/exact_offer.h"

#include <cmath>
#include <set>

#include "core/duration.h"
#include "core/error.h"
#include "nn/inventory.h"
#include "train/compute_choice.h"
#include "train/decide.h"
#include "train/memory_estimate.h"

namespace zoodip {
namespace {

// Settings that are chosen for an estimate alone.
const std::set<std::string> of_estimate = {"method", "steps",     "learning_rate",  "slope",
                                           "n",      "mu",        "direction_rank", "related_words",
                                           "chunk",  "directions"};

// A backward pass takes as long as two forward ones, and computes each block once more.
constexpr double exact_step_in_passes = 4;

// Of the products of a step, where they were timed on this machine; else of its passes.
double ratio_of(const TrainSettings& estimate, const TrainSettings& exact,
                const WeightSource& source) {
    const auto ours = choose_compute(estimate, source).seconds;
    const auto theirs = choose_compute(exact, source).seconds;
    const auto one = ours.find(*estimate.compute), other = theirs.find(*exact.compute);
    if (one != ours.end() && other != theirs.end()) return other->second / one->second;
    return exact_step_in_passes / static_cast<double>(points_of(estimate));
}

long megabytes(std::int64_t bytes) {
    return std::lround(static_cast<double>(bytes) / 1e6);
}

}  // namespace

std::optional<ExactOffer> exact_offer(const TrainSettings& settings, const AskedSettings& asked,
                                      const WeightSource& source) {
    if (settings.method == exact_gradient) return std::nullopt;
    AskedSettings other;  // all else is the run's own
    for (const auto& field : train_setting_fields()) {
        const bool integers = field.name == "compute" && settings.compute == ComputeType::int8;
        if (!asked.chosen.contains(field.name) || of_estimate.contains(field.name) || integers)
            continue;
        other.choose(field.name, get_field(asked.values, field));
    }
    other.choose("method", "exact");
    const TrainSettings exact = decide(other, source, /*fit=*/false).settings;
    if (!fits(exact, source)) return std::nullopt;
    return ExactOffer{exact.steps, estimate_memory(source, take_inventory(source), exact).peak(),
                      ratio_of(settings, exact, source)};
}

std::string to_text(const ExactOffer& offer, double seconds_a_step, std::int64_t steps,
                    std::int64_t memory) {
    const double each = seconds_a_step * offer.step_ratio;
    return concat(
        "`method exact` would take about ", offer.steps, " steps of ", format_step_time(each), ", ",
        format_duration(each * static_cast<double>(offer.steps)), ", in ", megabytes(offer.memory),
        " MB; this run takes ", format_duration(seconds_a_step * static_cast<double>(steps)),
        " in ", megabytes(memory), " MB");
}

}  // namespace zoodip
