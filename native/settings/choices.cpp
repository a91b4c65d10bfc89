#include "settings/choices.h"

namespace zoodip {

Method usual_estimate() {
    return {all_estimators().front()};
}

const NameTable<Preset>& preset_names() {
    static const NameTable<Preset> names = [] {
        NameTable<Preset> all = {
            {{}, open_name}, {{Preset::few_passes}, "few_passes"}, {{Preset::paper}, "paper"}};
        const auto& families = all_families();  // the latest first
        for (auto family = families.rbegin(); family != families.rend(); ++family) {
            all.push_back({{Preset::paper, *family}, (*family)->preset});
        }
        return all;
    }();
    return names;
}

const NameTable<std::optional<Method>>& method_names() {
    static const NameTable<std::optional<Method>> names = [] {
        NameTable<std::optional<Method>> all;
        for (const EstimatorKind* kind : all_estimators()) {
            all.push_back({Method{kind}, kind->name});
        }
        all.push_back({exact_gradient, "exact"});
        all.push_back({std::nullopt, open_name});
        return all;
    }();
    return names;
}

const NameTable<Slope>& slope_names() {
    static const NameTable<Slope> names = {{Slope::loss, "loss"}, {Slope::residual, "residual"}};
    return names;
}

const NameTable<MuScale>& mu_scale_names() {
    static const NameTable<MuScale> names = {{MuScale::same, "same"}, {MuScale::table, "table"}};
    return names;
}

const NameTable<Directions>& directions_names() {
    static const NameTable<Directions> names = {{Directions::normal, "normal"},
                                                {Directions::principal, "principal"},
                                                {Directions::related, "related"},
                                                {Directions::sensitive, "sensitive"}};
    return names;
}

const NameTable<LearningRateSchedule>& learning_rate_schedule_names() {
    static const NameTable<LearningRateSchedule> names = {
        {LearningRateSchedule::constant, "constant"},
        {LearningRateSchedule::linear, "linear"},
        {LearningRateSchedule::cosine, "cosine"},
        {LearningRateSchedule::inverse, "inverse"}};
    return names;
}

const NameTable<PictureSizes>& picture_sizes_names() {
    static const NameTable<PictureSizes> names = {{PictureSizes::training, "training"},
                                                  {PictureSizes::original, "original"}};
    return names;
}

const NameTable<Take>& take_names() {
    static const NameTable<Take> names = {{Take::last, "last"}, {Take::best, "best"}};
    return names;
}

const NameTable<std::optional<Prediction>>& open_prediction_names() {
    static const auto names = with_auto(prediction_names());
    return names;
}

const NameTable<std::optional<BetaKind>>& open_beta_kind_names() {
    static const auto names = with_auto(beta_kind_names());
    return names;
}

const NameTable<std::optional<ComputeType>>& open_compute_names() {
    static const auto names = with_auto(compute_type_names());
    return names;
}

const NameTable<std::optional<bool>>& on_off_names() {
    static const auto names = with_auto<bool>({{true, "on"}, {false, "off"}});
    return names;
}

}  // namespace zoodip
