#include "train/personalize.h"

#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include <c10/util/Exception.h>

#include "core/error.h"
#include "core/memory.h"
#include "nn/unet.h"
#include "train/engine.h"
#include "train/preview.h"
#include "train/token_file.h"
#include "train/trainer.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;

double seconds_now() {
    const auto since = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration<double>(since).count();
}

std::vector<LatentPicture> make_latents(const Plan& plan, PersonalizeObserver& observer) {
    observer.on_stage("loading the image encoder");
    const auto encoder = load_latent_encoder(*plan.source, plan.architecture, plan.load);
    check_latent(plan.check, *encoder, plan.load.device);
    observer.on_stage("encoding pictures");
    return encode_pictures(plan.pictures, *encoder, plan.settings.resolution,
                           plan.settings.flip > 0, plan.load.device,
                           [&](std::size_t, std::size_t) { plan.load.cancel.check(); });
}

// Writes word and state: the state last, so that it is never ahead of the word.
void keep(const Plan& plan, const RunState& state, const nlohmann::json& identity) {
    write_token(plan.output.token, plan.layout, state.theta,
                {{"word", plan.word},
                 {"step", std::to_string(state.step)},
                 {"zoodip", identity.dump()},
                 {"format", "pt"}});
    save_run(state_path(plan.output.token), {state, identity});
}

class Run {
  public:
    Run(const Plan& plan, Trainer& trainer, Previewer& previewer, PersonalizeObserver& observer)
        : plan_(plan),
          trainer_(trainer),
          previewer_(previewer),
          observer_(observer),
          identity_(identity_of(plan)) {}

    PersonalizeResult go() {
        if (plan_.output.resume) restore();
        try {
            loop();
        } catch (const Cancelled&) {
            if (trainer_.step() == 0) throw;
            keep(plan_, trainer_.state(), identity_);
            return {plan_.output.token, trainer_.step(), false, smooth_};
        } catch (const c10::Error& error) {
            keep_what_was_learned(error.what_without_backtrace());
        } catch (const std::exception& error) {
            keep_what_was_learned(error.what());
        }
        keep(plan_, trainer_.state(), identity_);
        std::error_code ignored;  // the word is written; a state left behind is refused by name
        fs::remove(state_path(plan_.output.token), ignored);
        return {plan_.output.token, trainer_.step(), true, smooth_};
    }

  private:
    void restore() {
        const fs::path file = state_path(plan_.output.token);
        const SavedRun saved = load_run(file);
        require_same_run(saved.identity, identity_, file);
        trainer_.restore(saved.state);
    }

    // Called while an exception is handled: a run that breaks keeps what it had learned.
    [[noreturn]] void keep_what_was_learned(const std::string& why) {
        if (trainer_.step() == 0) throw;
        keep(plan_, trainer_.state(), identity_);
        fail(why, ". The word as of step ", trainer_.step(), " is kept in ",
             plan_.output.token.string());
    }

    // The first step's passes are timed before the word moves.
    Evaluation forecast() {
        observer_.on_stage("timing one pass");
        const double start = seconds_now();
        Evaluation first = trainer_.evaluate();
        const double took = seconds_now() - start;
        observer_.on_forecast(took, plan_.settings.steps - trainer_.step());
        const double row = took / static_cast<double>(plan_.settings.n + 1);
        budget_.emplace(observer_.preview_share(), row * static_cast<double>(Previewer::rows()),
                        seconds_now);
        observer_.on_stage("training");
        return first;
    }

    void loop() {
        if (trainer_.step() >= plan_.settings.steps) return;
        take(forecast());
        while (trainer_.step() < plan_.settings.steps) take(trainer_.evaluate());
    }

    void take(const Evaluation& evaluation) {
        plan_.load.cancel.check();
        trainer_.advance(evaluation);
        const double loss = evaluation.loss();
        smooth_ = seen_++ == 0 ? loss : 0.98 * smooth_ + 0.02 * loss;
        const std::int64_t step = trainer_.step();
        const bool last = step == plan_.settings.steps;
        if (!last && step % plan_.settings.checkpoint_every == 0) {
            keep(plan_, trainer_.state(), identity_);
        }
        observer_.on_step(step, plan_.settings.steps, loss, smooth_);
        if (budget_->due()) {
            budget_->spend([&] { observer_.on_preview(step, previewer_.draw(trainer_.theta())); });
        }
    }

    const Plan& plan_;
    Trainer& trainer_;
    Previewer& previewer_;
    PersonalizeObserver& observer_;
    nlohmann::json identity_;
    std::optional<PreviewBudget> budget_;
    double smooth_ = 0;
    std::int64_t seen_ = 0;
};

// float32 [width] on the CPU.
at::Tensor start_vector(const Plan& plan, const TextEncoder& text_encoder) {
    if (const auto* vector = std::get_if<at::Tensor>(&plan.start)) {
        require(vector->numel() == text_encoder.width(), "init: '", plan.initialiser, "' has ",
                vector->numel(), " numbers, this model's words have ", text_encoder.width());
        return vector->to(at::kCPU, at::kFloat).flatten();
    }
    const at::Tensor start = text_encoder.token_vector(std::get<std::int64_t>(plan.start)).cpu();
    require(start.any().item<bool>(), "init: the model has never seen the word '", plan.initialiser,
            "', its embedding is all zeros; take a word that it knows");
    return start;
}

PersonalizeResult run(const Plan& plan, PersonalizeObserver& observer) {
    const ThreadCount threads(plan.settings.threads);
    const ExactProducts exact(plan.load.device);
    const std::vector<LatentPicture> latents = make_latents(plan, observer);
    give_back_memory();
    observer.on_stage("loading the text encoder");
    const TextEncoder text_encoder(*plan.source, plan.load, plan.architecture.text_heads);
    const TrainSettings& settings = plan.settings;
    require(settings.clip_skip <= text_encoder.layers(), "clip_skip: needs 1 to ",
            text_encoder.layers(), ", got ", settings.clip_skip);
    check_text(plan.check, text_encoder, settings.clip_skip, plan.load.device);
    const at::Tensor start = start_vector(plan, text_encoder);
    observer.on_stage("loading the UNet");
    const UNet unet(*plan.source, plan.load, plan.architecture.unet_heads);
    const DiffusionObjective::Parts parts{text_encoder,
                                          unet,
                                          choose_prediction(settings.prediction, plan.architecture),
                                          settings.clip_skip,
                                          plan.load.device,
                                          plan.schedule};
    give_back_memory();
    check_denoised(plan.check, unet, plan.schedule, parts.prediction, plan.load.device);

    std::vector<PreparedText> texts;
    for (const auto& picture : plan.pictures) texts.push_back(picture.text);
    Previewer previewer(parts, plan.layout, texts.front(), plan.empty_text, settings.resolution);
    DiffusionObjective objective(parts, plan.layout, std::move(texts));
    Trainer trainer(settings, objective, latents, start);
    return Run(plan, trainer, previewer, observer).go();
}

// However a run ends, its memory goes back to the system: a host lives on.
struct GiveBackAtEnd {
    ~GiveBackAtEnd() { give_back_memory(); }
};

template <class Request>
PersonalizeResult plan_and_run(const Request& request, PersonalizeObserver& observer,
                               const CancelToken& cancel) {
    const GiveBackAtEnd at_end;
    observer.on_stage("checking");
    return run(make_plan(request, cancel), observer);
}

}  // namespace

PersonalizeResult personalize(const PersonalizeRequest& request, PersonalizeObserver& observer,
                              const CancelToken& cancel) {
    return plan_and_run(request, observer, cancel);
}

PersonalizeResult personalize(const GraphRequest& request, PersonalizeObserver& observer,
                              const CancelToken& cancel) {
    return plan_and_run(request, observer, cancel);
}

}  // namespace zoodip
