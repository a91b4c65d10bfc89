// A picture from a prompt, to see what a word does.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "core/cancel.h"
#include "io/picture.h"
#include "objective/noise.h"
#include "ops/types.h"

namespace zoodip {

struct RenderRequest {
    std::filesystem::path model;
    std::vector<std::filesystem::path> tokens;  // words that prompts may use
    std::string prompt;
    std::string negative;
    std::int64_t width = 0, height = 0;  // 0 takes the side that the model was made for
    std::int64_t steps = 20;
    double guidance = 7.5;
    std::uint64_t seed = 0;
    std::int64_t clip_skip = 1;
    std::optional<Prediction> prediction;  // nothing: the model's
    BetaChoice betas = {};
    WeightType weights = WeightType::int8;
    ComputeType compute = ComputeType::float32;
    std::string device = "cpu";
    std::int64_t threads = 0;
};

// What of a request has names at the edges.
struct RenderNames {
    std::string prediction = "auto", zero_snr = "auto", beta_schedule = "auto";
    std::string weights = "int8", compute = "fp32";

    // Throws Error for a name that is none of the choices.
    void put_into(RenderRequest& request) const;
};

// N(0, I), float32 [1, 4, height / 8, width / 8]: what a picture of this seed starts from.
at::Tensor initial_noise(std::uint64_t seed, std::int64_t height, std::int64_t width);

// pixels: [1, 3, height, width], in [-1, 1] up to overshoot, which is cut off.
Picture to_picture(const at::Tensor& pixels);

// DPM-Solver++(2M) with guidance. on_step(done, total) after each step. Throws Error or Cancelled.
Picture render(const RenderRequest& request,
               const std::function<void(std::int64_t, std::int64_t)>& on_step,
               const CancelToken& cancel);

}  // namespace zoodip
