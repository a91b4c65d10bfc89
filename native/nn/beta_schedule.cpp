#include "nn/beta_schedule.h"

#include <algorithm>
#include <cmath>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"
#include "core/settings.h"
#include "nn/family.h"

namespace zoodip {
namespace {

using nlohmann::json;

const std::string* text_of(const WeightSource& weights, const char* key) {
    const auto found = weights.metadata().find(key);
    return found == weights.metadata().end() ? nullptr : &found->second;
}

double beta_of(const WeightSource& weights, const char* key, double otherwise) {
    const std::string* text = text_of(weights, key);
    if (text == nullptr) return otherwise;
    const json value = parse_json(*text);
    const double beta = value.is_number() ? value.get<double>() : 0;
    require(beta > 0 && beta < 1, weights.description(), ": metadata ", key, " is '", *text,
            "', expected a number between 0 and 1");
    return beta;
}

std::vector<double> betas_of(const WeightSource& weights, const std::string& text) {
    const json list = parse_json(text);
    const auto is_beta = [](const json& value) {
        return value.is_number() && value.get<double>() > 0 && value.get<double>() < 1;
    };
    require(
        list.is_array() && list.size() == 1000 && std::all_of(list.begin(), list.end(), is_beta),
        weights.description(), ": metadata ", metadata_key::trained_betas,
        " is expected to be a list of 1000 numbers between 0 and 1");
    return list.get<std::vector<double>>();
}

}  // namespace

BetaSchedule detect_beta_schedule(const WeightSource& weights) {
    BetaSchedule schedule;
    if (const std::string* list = text_of(weights, metadata_key::trained_betas)) {
        schedule.kind = BetaKind::trained;
        schedule.trained = betas_of(weights, *list);
    } else if (const std::string* kind = text_of(weights, metadata_key::beta_schedule)) {
        const BetaKind* found = find_named(beta_kind_names(), *kind);
        require(found != nullptr && *found != BetaKind::trained, weights.description(),
                ": its betas are '", *kind,
                "'; scaled_linear, linear and squaredcos_cap_v2 are supported");
        schedule.kind = *found;
    }
    schedule.start = beta_of(weights, metadata_key::beta_start, schedule.start);
    schedule.end = beta_of(weights, metadata_key::beta_end, schedule.end);
    const std::string* zero = text_of(weights, metadata_key::zero_snr);
    require(zero == nullptr || *zero == "true" || *zero == "false", weights.description(),
            ": metadata ", metadata_key::zero_snr, " is '", zero == nullptr ? "" : *zero,
            "', expected true or false");
    schedule.zero_snr = zero != nullptr ? *zero == "true" : weights.has("ztsnr");
    return schedule;
}

}  // namespace zoodip
