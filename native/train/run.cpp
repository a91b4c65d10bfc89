#include "train/run.h"

#include <cmath>
#include <system_error>
#include <utility>

#include "core/clock.h"
#include "core/error.h"
#include "core/log.h"
#include "io/png_text.h"
#include "objective/render.h"
#include "ops/plain_message.h"
#include "train/going_on.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;

}  // namespace

Run::Run(const Plan& plan, Trainer& trainer, const Validation& validation, Preview preview,
         PersonalizeObserver& observer)
    : plan_(plan),
      trainer_(trainer),
      validation_(validation),
      preview_(std::move(preview)),
      observer_(observer),
      passes_(passes_of(plan.settings)),
      watch_(plan.settings.divergence, plan.settings.early_stop),
      files_(plan.output, plan.layout, identity_of(plan), plan.settings.checkpoints_kept,
             plan.told_elsewhere()) {
    if (!plan.output.log.empty()) log_ = RunLog(plan.output.log, plan.output.log_goes_on);
}

void Run::tell(const char* event, nlohmann::json more) {
    nlohmann::json all = {{"event", event}, {"step", trainer_.step()}};
    all.update(more);
    log_.write(all);
    observer_.on_event(all);
}

PersonalizeResult Run::result(bool finished) const {
    PersonalizeResult out;
    out.tokens = tokens_of(plan_.output);
    out.token = out.tokens.front();
    out.steps = trainer_.step();
    out.word_step = word_to_give().step;
    out.finished = finished;
    out.smooth_loss = watch_.smooth();
    out.forward_passes = trainer_.step() * passes_.forward;
    out.backward_passes = trainer_.step() * passes_.backward;
    if (watch_.best()) {
        out.best = best_path(plan_.output.token);
        out.best_step = watch_.best()->step;
        out.best_loss = watch_.best()->loss;
    }
    return out;
}

void Run::begin() {
    if (plan_.output.resume) {
        restore();
    } else {
        files_.forget_earlier();
    }
    began_ = seconds_now();
    tell("start", {{"run", files_.identity()},
                   {"steps", plan_.settings.steps},
                   {"memory", to_json(plan_.memory)},
                   {"forward_passes_a_step", passes_.forward},
                   {"backward_passes_a_step", passes_.backward}});
}

void Run::prepare() {
    calibrate();
    // What a stop may have interrupted.
    validate_if_due();
    preview_if_due();
}

bool Run::goes_on() const {
    return trainer_.step() < plan_.settings.steps && !watch_.exhausted();
}

void Run::before_passes() {
    plan_.load.cancel.check();
    if (!budget_) observer_.on_stage("timing one step");
}

PersonalizeResult Run::execute() {
    begin();
    try {
        prepare();
        while (goes_on()) {
            before_passes();
            const double start = seconds_now();
            const Evaluation evaluation = trainer_.evaluate();
            take(evaluation, seconds_now() - start);
        }
        return finish();
    } catch (...) {
        return break_off();
    }
}

PersonalizeResult Run::break_off() {
    try {
        throw;
    } catch (const Cancelled&) {
        return stop();
    } catch (const std::exception& error) {
        keep_what_was_learned(plain_message(error));
    }
}

// Called while the cancellation is handled.
PersonalizeResult Run::stop() {
    if (trainer_.step() == 0) throw;
    try {
        keep();
    } catch (const Error& error) {
        fail("stopped at step ", trainer_.step(), ": ", error.what(), ". ", files_.what_is_left());
    }
    tell("stop", {{"seconds", seconds_now() - began_}});
    return result(false);
}

PersonalizeResult Run::finish() {
    if (watch_.best()) files_.write_best(*watch_.best());
    files_.finish(state_now(), word_to_give());
    tell("end", {{"seconds", seconds_now() - began_}, {"smooth_loss", watch_.smooth()}});
    return result(true);
}

// Only rank 0 has the files.
SavedRun Run::newest() const {
    if (plan_.ranks == nullptr) return files_.newest();
    if (plan_.told_elsewhere()) return from_bytes(plan_.ranks->share({}));
    const SavedRun saved = files_.newest();
    plan_.ranks->share(to_bytes(saved));
    return saved;
}

void Run::restore() {
    files_.forget_leftovers();
    const SavedRun saved = newest();
    require_reachable(saved, plan_.settings, state_path(plan_.output.token));
    const RunState state = state_for(saved, plan_.settings);
    trainer_.restore(state);
    watch_.restore(state);
    validated_ = state.watch.value("validated", std::int64_t{-1});
    if (state.step == plan_.settings.steps) {
        log_info("resume: the ", state.step, " steps are done already; ask for more to go on");
    }
}

// The last one, or the best one where that is asked for and known.
LossWatch::Word Run::word_to_give() const {
    if (plan_.settings.take == Take::best && watch_.best()) return *watch_.best();
    return {trainer_.step(), trainer_.word()};
}

// Called while an exception is handled: a run that breaks keeps what it had learned.
void Run::keep_what_was_learned(const std::string& why) {
    if (trainer_.step() == 0 || plan_.told_elsewhere()) throw;
    tell("failure", {{"why", why}});
    LossWatch::Word word = word_to_give();
    if (diverged_ && word.step == trainer_.step()) word = watch_.sound();
    try {
        diverged_ ? keep_sound(word) : keep();
    } catch (const Error& error) {  // the same again, most often
        const std::string also = why == error.what() ? "" : concat("; then: ", error.what());
        fail("step ", trainer_.step(), ": ", why, also, ". ", files_.what_is_left());
    }
    fail("step ", trainer_.step(), ": ", why, ". The word as of step ", word.step, " is kept in ",
         plan_.output.token.string(), diverged_ ? "" : "; " + files_.how_to_go_on());
}

// The last word has gone astray since; from its state there is no going on.
void Run::keep_sound(const LossWatch::Word& word) {
    files_.write_word(word, trainer_.step());
    if (watch_.best()) files_.write_best(*watch_.best());
    files_.forget_states();
}

RunState Run::state_now() const {
    RunState state = trainer_.state();
    watch_.store(state);
    state.watch["validated"] = validated_;
    return state;
}

void Run::keep() {
    if (watch_.best()) files_.write_best(*watch_.best());
    files_.keep(state_now(), word_to_give());
}

void Run::calibrate() {
    if (plan_.output.resume) return;  // the scales are in the state
    const double start = seconds_now();
    observer_.on_stage("calibrating");
    const Activations* activations = trainer_.calibrate();
    if (activations == nullptr) return;
    nlohmann::json sensitive = nlohmann::json::object();
    for (const auto& layer : activations->layers()) {
        if (layer->sensitive()) sensitive[layer->name()] = layer->error();
    }
    const double share = activations->integer_share();
    log_info("calibrated: ", std::lround(1000 * share) / 10.0,
             " % of the multiply-adds are of 8-bit integers, ", sensitive.size(), " of ",
             activations->layers().size(), " layers keep floating point");
    tell("calibrated", {{"seconds", seconds_now() - start},
                        {"integer_share", share},
                        {"layers", activations->layers().size()},
                        {"sensitive", sensitive}});
}

// The first step's passes are timed before the word moves.
void Run::forecast(double seconds, std::size_t runs) {
    const auto passes = static_cast<double>(passes_.forward + 2 * passes_.backward);  // about two
    const double row = seconds / (passes * static_cast<double>(runs));
    const std::int64_t steps = plan_.settings.steps - trainer_.step();
    const auto others = static_cast<double>(validations_left() * plan_.settings.validation_samples);
    observer_.on_forecast(seconds, steps);
    tell("forecast", {{"seconds_a_step", seconds},
                      {"seconds_left", seconds * static_cast<double>(steps) + row * others}});
    if (plan_.exact_offer) {
        const std::string offer = to_text(*plan_.exact_offer, seconds, steps, plan_.memory.peak());
        log_info(offer);
        observer_.on_note(offer);
    }
    budget_.emplace(observer_.preview_share(), row * static_cast<double>(Previewer::rows()),
                    seconds_now);
    observer_.on_stage("training");
    validate_start();
}

void Run::take(const Evaluation& evaluation, double seconds, std::size_t runs) {
    if (!budget_) forecast(seconds, runs);
    plan_.load.cancel.check();
    const double learning_rate = trainer_.learning_rate();
    trainer_.advance(evaluation);
    watch(evaluation.loss);
    const std::int64_t step = trainer_.step();
    tell("step", {{"loss", evaluation.loss},
                  {"smooth_loss", watch_.smooth()},
                  {"learning_rate", learning_rate},
                  {"forward_passes", step * passes_.forward},
                  {"backward_passes", step * passes_.backward},
                  {"seconds", seconds_now() - began_}});
    observer_.on_step(step, plan_.settings.steps, evaluation.loss, watch_.smooth());
    validate_if_due();
    if (step < plan_.settings.steps && step % plan_.settings.checkpoint_every == 0) {
        keep();
        tell("checkpoint", {{"file", state_path(plan_.output.token).string()}});
    }
    preview_if_due();
    if (previewed_ != step && budget_->due()) budget_->spend([&] { draw_preview(); });
}

void Run::watch(double loss) {
    watch_.take(trainer_.step(), loss, trainer_.word());
    diverged_ = watch_.diverges();
    require(!diverged_, "the loss diverges: its mean rose to ", watch_.level(), ", ",
            watch_.level() / watch_.lowest(), " times its lowest, ", watch_.lowest(), ", at step ",
            trainer_.step(), ". A smaller `learning_rate` helps");
}

bool Run::validation_is_due(std::int64_t step) const {
    const std::int64_t every = plan_.settings.validate_every;
    return every > 0 && (step % every == 0 || step == plan_.settings.steps);
}

// How often the fixed samples are still looked at, if the run goes to its last step.
std::int64_t Run::validations_left() const {
    const std::int64_t every = plan_.settings.validate_every, last = plan_.settings.steps;
    if (every == 0) return 0;
    const std::int64_t first = trainer_.step();
    return last / every - first / every + (last % every > 0) + (first == 0);
}

// What the others are compared with: no word that was learned, so it cannot be the best one.
void Run::validate_start() {
    if (trainer_.step() > 0 || validated_ >= 0 || !validation_is_due(0)) return;
    const double loss = validation_.loss(trainer_.word());
    validated_ = 0;
    tell("validation", {{"loss", loss}, {"best", false}});
}

void Run::validate_if_due() {
    const std::int64_t step = trainer_.step();
    if (step == 0 || validated_ == step || !validation_is_due(step)) return;
    const at::Tensor word = trainer_.word();
    const double loss = validation_.loss(word);
    validated_ = step;
    const bool best = watch_.validate(step, loss, word);
    tell("validation", {{"loss", loss}, {"best", best}});
}

void Run::preview_if_due() {
    const std::int64_t every = plan_.settings.preview_every, step = trainer_.step();
    if (every > 0 && step > 0 && step % every == 0 && previewed_ != step) draw_preview();
}

void Run::draw_preview() {
    previewed_ = trainer_.step();
    const at::Tensor latents = preview_.draw(trainer_.word());
    observer_.on_preview(previewed_, latents);
    if (plan_.output.previews.empty()) return;
    const fs::path file = plan_.output.previews / preview_name(previewed_);
    const Picture picture = to_picture(preview_.decode(latents));
    try {
        std::error_code ignored;  // the writer says what is wrong with the folder
        fs::create_directories(plan_.output.previews, ignored);
        write_png(file, picture, PngText{preview_mark, run_id(files_.identity())});
    } catch (const Error& error) {
        log_warning(error.what(), "; the training goes on without this preview");
        return;
    }
    tell("preview", {{"file", file.string()}});
}

}  // namespace zoodip
