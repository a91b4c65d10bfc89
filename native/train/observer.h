// What a training tells while it runs, and what it gives at its end.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>
#include <nlohmann/json.hpp>

namespace zoodip {

// Called from the thread that trains. An exception thrown from here ends the run.
class PersonalizeObserver {
  public:
    virtual ~PersonalizeObserver() = default;
    // What is being done, in a few words: "reading pictures".
    virtual void on_stage(const std::string&) {}
    // What was read of the pictures and what was left out, in one line; what in captions is not
    // obeyed. The log has it too.
    virtual void on_note(const std::string&) {}
    // The seconds of one step, from the passes of the first one, before the word moves.
    virtual void on_forecast(double /*seconds_a_step*/, std::int64_t /*steps_left*/) {}
    // loss: L(theta) of this step; smooth_loss: its exponential mean.
    virtual void on_step(std::int64_t /*step*/, std::int64_t /*steps*/, double /*loss*/,
                         double /*smooth_loss*/) {}
    // The share of the run's time that previews may take, from 0 (none) to 1.
    virtual double preview_share() const { return 0; }
    // Everything that happens, as the log has it: {"event": "start" | "forecast" | "step" |
    // "validation" | "checkpoint" | "preview" | "stop" | "failure" | "end", "step": n, ...}. The
    // forecast is of the whole run, with its validations but without previews.
    virtual void on_event(const nlohmann::json&) {}
    // What the first picture's caption gives at this step: latents in the UNet's scale, float32
    // [1, 4, side / 8, side / 8], on the run's device. The seed is fixed.
    virtual void on_preview(std::int64_t /*step*/, const at::Tensor& /*latents*/) {}
};

struct PersonalizeResult {
    std::filesystem::path token;                // of the first word
    std::vector<std::filesystem::path> tokens;  // of all words, in their order
    std::int64_t steps = 0;                     // done
    std::int64_t word_step = 0;  // that of the word in `token`: the last one, or the best one's
    bool finished = true;        // false: stopped before its end; the state was kept
    double smooth_loss = 0;
    std::int64_t forward_passes = 0, backward_passes = 0;  // of the UNet, by the steps done
    std::filesystem::path best = {};  // the word of the lowest validation loss; empty without one
    std::int64_t best_step = 0;
    double best_loss = 0;
};

}  // namespace zoodip
