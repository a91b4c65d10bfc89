// What a run chooses among, as values; their names stand in choices.cpp alone.
#pragma once

#include <optional>

#include "core/names.h"
#include "diffusion/beta_schedule.h"
#include "diffusion/prediction.h"
#include "diffusion/timestep_plan.h"
#include "nn/families.h"
#include "ops/types.h"
#include "zo/estimators.h"

namespace zoodip {

enum class Slope { loss, residual };
enum class MuScale { same, table };
enum class Directions { normal, principal, related, sensitive };
enum class LearningRateSchedule { constant, linear, cosine, inverse };
enum class PictureSizes { training, original };
enum class Take { last, best };

// Whose values what is not chosen takes: the paper's for estimates and this engine's for the exact
// gradient (usual); this engine's for few passes; or the paper's alone, for the model's family or
// for one that is named.
struct Preset {
    enum Kind { usual, few_passes, paper } kind = usual;
    const Family* family = nullptr;
    bool operator==(const Preset&) const = default;
};

// How the gradient is found: by an estimator from forward passes, or exactly, by back-propagation.
struct Method {
    const EstimatorKind* estimator = nullptr;  // none: exactly
    bool operator==(const Method&) const = default;
};
inline constexpr Method exact_gradient;

// That of the first estimator, which is taken where nothing better is known.
Method usual_estimate();

// Where std::nullopt is among the values it is called "auto".
const NameTable<Preset>& preset_names();  // "auto": the usual one
const NameTable<std::optional<Method>>& method_names();
const NameTable<Slope>& slope_names();
const NameTable<MuScale>& mu_scale_names();
const NameTable<Directions>& directions_names();
const NameTable<LearningRateSchedule>& learning_rate_schedule_names();
const NameTable<PictureSizes>& picture_sizes_names();
const NameTable<Take>& take_names();
const NameTable<std::optional<Prediction>>& open_prediction_names();
const NameTable<std::optional<BetaKind>>& open_beta_kind_names();
const NameTable<std::optional<ComputeType>>& open_compute_names();
const NameTable<std::optional<bool>>& on_off_names();  // auto, on, off

}  // namespace zoodip
