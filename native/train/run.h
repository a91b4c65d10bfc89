// A run from its first step to its last: what is written, told and decided on the way.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include <ATen/core/Tensor.h>
#include <nlohmann/json.hpp>

#include "objective/preview.h"
#include "objective/validation.h"
#include "train/loss_watch.h"
#include "train/observer.h"
#include "train/plan.h"
#include "train/run_files.h"
#include "train/run_log.h"
#include "train/trainer.h"

namespace zoodip {

class Run {
  public:
    // How a word is shown: float32 [d] -> latents in the UNet's scale, float32 [1, 4, h, w] ->
    // pixels in [-1, 1], float32 [1, 3, 8 h, 8 w].
    struct Preview {
        std::function<at::Tensor(const at::Tensor& word)> draw;
        std::function<at::Tensor(const at::Tensor& latents)> decode;
    };

    // The references must outlive the run. The weights have been read: the plan has its identity.
    Run(const Plan& plan, Trainer& trainer, const Validation& validation, Preview preview,
        PersonalizeObserver& observer);

    // Trains to the end, the last step or the early stop. When cancelled, keeps word and state as
    // of the last whole step; before the first step it throws Cancelled. A run that breaks keeps
    // what it had learned and throws Error.
    PersonalizeResult execute();

    // The same in parts, for runs whose steps are made together. begin() throws Error and has
    // changed nothing of an earlier run where that cannot be gone on with; then, while goes_on():
    // the passes of a step are made and given to take(). What any of these but begin() throws is to
    // be handed to break_off(), while it is handled; finish() ends a run that does not go on.
    void begin();
    void prepare();
    bool goes_on() const;
    void before_passes();  // of each step
    // seconds: that the passes took; runs: that shared them, and the time.
    void take(const Evaluation& evaluation, double seconds, std::size_t runs = 1);
    PersonalizeResult finish();
    // Keeps what was learned. Gives the result of a run that was stopped; throws what execute()
    // does otherwise.
    PersonalizeResult break_off();

  private:
    SavedRun newest() const;
    void restore();
    void calibrate();
    void forecast(double seconds, std::size_t runs);
    void watch(double loss);
    bool validation_is_due(std::int64_t step) const;
    std::int64_t validations_left() const;
    void validate_start();
    void validate_if_due();
    void preview_if_due();
    void draw_preview();
    void keep();
    RunState state_now() const;
    LossWatch::Word word_to_give() const;
    void keep_sound(const LossWatch::Word& word);
    PersonalizeResult stop();
    PersonalizeResult result(bool finished) const;
    [[noreturn]] void keep_what_was_learned(const std::string& why);
    void tell(const char* event, nlohmann::json more);

    const Plan& plan_;
    Trainer& trainer_;
    const Validation& validation_;
    Preview preview_;
    PersonalizeObserver& observer_;
    StepPasses passes_;  // of a step
    LossWatch watch_;
    RunFiles files_;
    RunLog log_;
    std::optional<PreviewBudget> budget_;
    bool diverged_ = false;
    std::int64_t validated_ = -1, previewed_ = 0;  // the steps at which that was done last
    double began_ = 0;
};

}  // namespace zoodip
