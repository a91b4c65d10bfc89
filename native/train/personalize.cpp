#include "train/personalize.h"

#include <chrono>
#include <memory>
#include <utility>

#include <c10/util/Exception.h>

#include "core/error.h"
#include "core/sha256.h"
#include "io/atomic_file.h"
#include "nn/unet.h"
#include "train/engine.h"
#include "train/token_file.h"
#include "train/trainer.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;

// Everything known before a weight is read.
struct Plan {
    PersonalizeRequest request;
    std::unique_ptr<WeightSource> source;
    Architecture architecture;
    TrainSettings settings;
    LoadOptions load;
    std::int64_t initialiser = 0;
    std::vector<TrainingPicture> pictures;
    TokenLayout layout;
};

void check_outputs(const PersonalizeRequest& request) {
    require(request.out.extension() == ".safetensors", "out: '", request.out.string(),
            "' needs the ending .safetensors");
    const fs::path state = state_path(request.out);
    if (request.resume) {
        require(fs::exists(state), "resume: there is no stopped run at ", state.string(),
                ". Leave out --resume to start one");
    } else if (!request.overwrite) {
        require(!fs::exists(state), state.string(), " holds a stopped run: add --resume to go on ",
                "from it, or --overwrite to start anew");
        require(!fs::exists(request.out), request.out.string(),
                " exists: name another --out, or add --overwrite");
    }
    std::error_code unknown;  // two names of one file, or no file yet
    require(!fs::equivalent(request.out, request.model, unknown), "out: ", request.out.string(),
            " is the model itself: name another --out");
    probe_writable(request.out);
}

Plan make_plan(const PersonalizeRequest& request, const CancelToken& cancel) {
    Plan plan;
    plan.request = request;
    // Names and ranges first: they cost nothing.
    resolve_settings(request.settings, 768);
    const Tokenizer& tokenizer = clip_tokenizer();
    check_placeholder(tokenizer, request.word);
    plan.initialiser = initialiser_id(tokenizer, request.initialiser);
    check_outputs(request);
    plan.source = open_weights(request.model);
    plan.architecture = detect_architecture(*plan.source);
    plan.settings = resolve_settings(request.settings, plan.architecture.text_width);
    require_size(*plan.source, plan.settings.resolution, plan.settings.resolution);
    plan.pictures =
        list_training_pictures(request.images, plan.settings.caption, tokenizer, {request.word, 1});
    plan.layout.add(request.word, "clip_l", 1, plan.architecture.text_width);
    plan.load = {parse_weight_type(plan.settings.weights),
                 parse_compute_type(plan.settings.compute), open_device(plan.settings.device),
                 cancel};
    plan.load.fingerprint = std::make_shared<Sha256>();
    return plan;
}

std::vector<LatentPicture> make_latents(const Plan& plan, PersonalizeObserver& observer) {
    observer.on_stage("loading the image encoder");
    const auto encoder = load_latent_encoder(*plan.source, plan.architecture, plan.load);
    observer.on_stage("encoding pictures");
    return encode_pictures(plan.request.images, plan.pictures, *encoder, plan.settings.resolution,
                           plan.settings.flip > 0, plan.load.device,
                           [&](std::size_t, std::size_t) { plan.load.cancel.check(); });
}

// What a run is. Two runs with equal identities make the same word.
nlohmann::json identity_of(const Plan& plan) {
    nlohmann::json pictures = nlohmann::json::array();
    for (const auto& picture : plan.pictures) {
        pictures.push_back(
            {{"name", picture.name}, {"sha256", picture.sha256}, {"caption", picture.caption}});
    }
    return {{"zoodip", ZOODIP_VERSION},
            {"family", plan.architecture.family},
            {"word", plan.request.word},
            {"initialiser", plan.request.initialiser},
            {"settings", result_settings(plan.settings)},
            {"model", plan.load.fingerprint->hex()},
            {"pictures", pictures}};
}

// Writes word and state: the state last, so that it is never ahead of the word.
void keep(const Plan& plan, const RunState& state, const nlohmann::json& identity) {
    write_token(plan.request.out, plan.layout, state.theta,
                {{"word", plan.request.word},
                 {"step", std::to_string(state.step)},
                 {"zoodip", identity.dump()},
                 {"format", "pt"}});
    save_run(state_path(plan.request.out), {state, identity});
}

class Run {
  public:
    Run(const Plan& plan, Trainer& trainer, PersonalizeObserver& observer)
        : plan_(plan), trainer_(trainer), observer_(observer), identity_(identity_of(plan)) {}

    PersonalizeResult go(bool resume) {
        if (resume) restore();
        try {
            loop();
        } catch (const Cancelled&) {
            if (trainer_.step() == 0) throw;
            keep(plan_, trainer_.state(), identity_);
            return {plan_.request.out, trainer_.step(), false, smooth_};
        } catch (const c10::Error& error) {
            keep_what_was_learned(error.what_without_backtrace());
        } catch (const std::exception& error) {
            keep_what_was_learned(error.what());
        }
        keep(plan_, trainer_.state(), identity_);
        std::error_code ignored;  // the word is written; a state left behind is refused by name
        fs::remove(state_path(plan_.request.out), ignored);
        return {plan_.request.out, trainer_.step(), true, smooth_};
    }

  private:
    void restore() {
        const fs::path file = state_path(plan_.request.out);
        const SavedRun saved = load_run(file);
        require_same_run(saved.identity, identity_, file);
        trainer_.restore(saved.state);
    }

    // Called while an exception is handled: a run that breaks keeps what it had learned.
    [[noreturn]] void keep_what_was_learned(const std::string& why) {
        if (trainer_.step() == 0) throw;
        keep(plan_, trainer_.state(), identity_);
        fail(why, ". The word as of step ", trainer_.step(), " is kept in ",
             plan_.request.out.string());
    }

    // The first step's passes are timed before the word moves.
    Evaluation forecast() {
        observer_.on_stage("timing one pass");
        const auto start = std::chrono::steady_clock::now();
        Evaluation first = trainer_.evaluate();
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
        observer_.on_forecast(took.count(), plan_.settings.steps - trainer_.step());
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
    }

    const Plan& plan_;
    Trainer& trainer_;
    PersonalizeObserver& observer_;
    nlohmann::json identity_;
    double smooth_ = 0;
    std::int64_t seen_ = 0;
};

}  // namespace

fs::path state_path(const fs::path& token) {
    fs::path state = token;
    state.replace_extension(".state.safetensors");
    return state;
}

PersonalizeResult personalize(const PersonalizeRequest& request, PersonalizeObserver& observer,
                              const CancelToken& cancel) {
    observer.on_stage("checking");
    const Plan plan = make_plan(request, cancel);
    const ThreadCount threads(plan.settings.threads);
    const ExactProducts exact(plan.load.device);
    const std::vector<LatentPicture> latents = make_latents(plan, observer);
    observer.on_stage("loading the text encoder");
    const TextEncoder text_encoder(*plan.source, plan.load, plan.architecture.text_heads);
    require(plan.settings.clip_skip <= text_encoder.layers(), "clip_skip: needs 1 to ",
            text_encoder.layers(), ", got ", plan.settings.clip_skip);
    const at::Tensor start = text_encoder.token_vector(plan.initialiser).cpu();
    require(start.any().item<bool>(), "init: the model has never seen the word '",
            plan.request.initialiser, "', its embedding is all zeros; take a word that it knows");
    observer.on_stage("loading the UNet");
    const UNet unet(*plan.source, plan.load, plan.architecture.unet_heads);

    std::vector<PreparedText> texts;
    for (const auto& picture : plan.pictures) texts.push_back(picture.text);
    DiffusionObjective objective(
        {text_encoder, unet, choose_prediction(plan.settings.prediction, plan.architecture),
         plan.settings.clip_skip, plan.load.device},
        plan.layout, std::move(texts));
    Trainer trainer(plan.settings, objective, latents, start);
    return Run(plan, trainer, observer).go(request.resume);
}

}  // namespace zoodip
