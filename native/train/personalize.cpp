#include "train/personalize.h"

#include <algorithm>
#include <exception>
#include <filesystem>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>

#include "ranks/distributed_objective.h"

#include "core/error.h"
#include "core/log.h"
#include "core/memory.h"
#include "nn/unet.h"
#include "objective/engine.h"
#include "objective/prediction_check.h"
#include "objective/preview.h"
#include "objective/validation.h"
#include "objective/word_space.h"
#include "pictures/prompt_signs.h"
#include "train/decide.h"
#include "train/joint_runs.h"
#include "train/rank_facts.h"
#include "train/run.h"
#include "train/run_files.h"
#include "train/subjects.h"
#include "train/trainer.h"

namespace zoodip {
namespace {

// One of the words that are learned over one set of frozen weights: most often the only one.
struct Word {
    const Plan& plan;
    PersonalizeObserver& observer;
    OnEnd on_end;
    std::vector<LatentPicture> latents = {};
    at::Tensor start = {};  // theta, float32 [d] on the CPU
    std::optional<DirectionSpace> space = {};
};
using Words = std::vector<Word>;

// What all of them share is read as the first one's plan has it.
const Plan& plan_of_all(const Words& words) {
    return words.front().plan;
}

void on_stage(const Words& words, const std::string& stage) {
    for (const Word& word : words) word.observer.on_stage(stage);
}

void make_latents(Words& words, const LoadOptions& load) {
    const Plan& plan = plan_of_all(words);
    on_stage(words, "loading the image encoder");
    const auto encoder = load_latent_encoder(*plan.source, plan.architecture, load);
    check_latent(plan.check, *encoder, load.device);
    on_stage(words, "encoding pictures");
    for (Word& word : words) {
        naming_subject(word.plan.word(), words.size(), [&] {
            word.latents = encode_pictures(word.plan.pictures, *encoder, plan.settings.resolution,
                                           plan.settings.flip > 0, load.device,
                                           [&](std::size_t, std::size_t) { load.cancel.check(); });
        });
    }
}

// float32 [count, width] on the CPU, the rows of the table that the word starts from.
at::Tensor rows_of(const std::vector<std::int64_t>& ids, const TextEncoder& text_encoder,
                   const std::string& initialiser) {
    std::vector<at::Tensor> rows;
    for (const std::int64_t id : ids) {
        rows.push_back(text_encoder.token_vector(id).cpu());
        require(rows.back().any().item<bool>(), "init: the model has never seen the word '",
                initialiser, "', its embedding is all zeros; take a word that it knows");
    }
    return at::stack(rows);
}

// What one encoder's part of a word starts from, float32 [vectors * width] on the CPU: where there
// are fewer words of the initialiser than vectors, the last one stands for the others.
at::Tensor start_for(const StartedWord& word, std::int64_t vectors_a_word,
                     const TextEncoder& text_encoder) {
    const std::int64_t width = text_encoder.width();
    at::Tensor rows;
    if (const auto* given = std::get_if<EncoderTensors>(&word.start)) {
        const std::string& key = text_encoder.spec().key;
        const at::Tensor* vectors = of_encoder(*given, key);
        require(vectors != nullptr, "init: '", word.initialiser, "' has no vectors for ", key,
                ", which this model needs beside its others");
        require(vectors->size(-1) == width, "init: '", word.initialiser, "' has vectors of ",
                vectors->size(-1), " numbers, this model's words have ", width);
        rows = vectors->to(at::kCPU, at::kFloat).reshape({-1, width});
    } else {
        rows = rows_of(std::get<std::vector<std::int64_t>>(word.start), text_encoder,
                       word.initialiser);
    }
    const std::int64_t more = vectors_a_word - rows.size(0);
    return at::cat({rows, rows.slice(0, rows.size(0) - 1).expand({more, width})}).flatten();
}

// theta to start from, float32 [d] on the CPU, as the layout has it.
at::Tensor start_vector(const Plan& plan, const TextEncoders& text_encoders) {
    std::vector<at::Tensor> parts;
    for (const StartedWord& word : plan.words) {
        for (const auto& encoder : text_encoders.all()) {
            parts.push_back(start_for(word, plan.settings.vectors, *encoder));
        }
    }
    return at::cat(parts);
}

// Of the texts, those of each picture.
DiffusionObjective::Texts texts_of(const Plan& plan) {
    DiffusionObjective::Texts texts;
    for (const auto& picture : plan.pictures) texts.push_back(picture.texts);
    return texts;
}

// Pixels of latents. The decoder is loaded for each picture and freed again: previews are rare,
// and the memory is the run's.
at::Tensor decode(const Plan& plan, const at::Tensor& latents) {
    LoadOptions load = plan.load;
    load.fingerprint = nullptr;  // the run's identity is of what it learns from
    return load_latent_decoder(*plan.source, plan.architecture, load)->decode(latents);
}

void warn_unless_repeated(const Plan& plan) {
    if (plan.like.is_null()) return;
    const nlohmann::json now = identity_of(plan);
    const std::pair<const char*, const char*> parts[] = {
        {"model", "the model is not that"}, {"pictures", "the pictures are not those"}};
    for (const auto& [part, differs] : parts) {
        if (now[part] == plan.like.value(part, nlohmann::json())) continue;
        log_warning("like: ", differs, " of the run to repeat: another word will come out");
    }
}

// Those that captions and previews will ask for, while the file is still the one that was loaded.
void read_rows(const Plan& plan, const TokenTable& table) {
    table.rows(plan.empty_text.ids);
    for (const TrainingPicture& picture : plan.pictures) {
        for (const PreparedText& text : picture.texts) table.rows(text.ids);
    }
}

TextEncoders load_text(const Words& words, const LoadOptions& load) {
    const Plan& plan = plan_of_all(words);
    on_stage(words, "loading the text encoder");
    TextEncoders text_encoders = load_text_encoders(*plan.source, plan.architecture, load);
    const std::int64_t clip_skip = plan.settings.clip_skip;
    require(clip_skip <= text_encoders.layers(), "clip_skip: needs 1 to ", text_encoders.layers(),
            ", got ", clip_skip);
    const TextEncoderSpec& first = text_encoders.all().front()->spec();
    if (clip_skip > 1 && clip_skip == first.layer && !plan.folder.pictures.empty()) {
        log_info("clip_skip: ", clip_skip, " is what ", plan.architecture.family,
                 " takes by itself, and changes nothing");
    }
    check_text(plan.check, text_encoders, clip_skip);
    for (const Word& word : words) {
        for (const auto& encoder : text_encoders.all()) {
            read_rows(word.plan, encoder->token_table());
        }
    }
    return text_encoders;
}

UNet load_unet(const Words& words, const LoadOptions& load, Prediction prediction) {
    const Plan& plan = plan_of_all(words);
    on_stage(words, "loading the UNet");
    UNet unet(*plan.source, load, plan.architecture.unet_heads);
    give_back_memory();
    check_denoised(plan.check, unet, plan.schedule, prediction, load);
    return unet;
}

// Of each picture; empty where all are told to be of the training's size.
std::vector<std::array<PictureSize, 2>> told_sizes(const Plan& plan,
                                                   const std::vector<LatentPicture>& latents) {
    if (plan.settings.picture_sizes == PictureSizes::training) return {};
    if (plan.architecture.size_width == 0) {
        log_info("picture_sizes: ", plan.architecture.family,
                 " is told no sizes, and it changes nothing");
        return {};
    }
    std::vector<std::array<PictureSize, 2>> sizes;
    for (const LatentPicture& latent : latents) sizes.push_back(latent.sizes);
    return sizes;
}

DirectionSpace find_directions(const Word& word, const TextEncoders& text_encoders) {
    const Plan& plan = word.plan;
    const TrainSettings& settings = plan.settings;
    if (settings.method != exact_gradient && settings.directions == Directions::sensitive) {
        word.observer.on_stage("finding the directions that the text encoder is sensitive to");
    }
    const DiffusionObjective::Texts texts = texts_of(plan);
    return direction_space(
        settings,
        {*plan.source, plan.load, text_encoders, plan.layout, texts, settings.clip_skip,
         PictureSize::whole(settings.resolution, settings.resolution),
         static_cast<std::uint64_t>(settings.seed)},
        word.start);
}

void note(LogLevel level, const std::string& text, PersonalizeObserver& observer) {
    log(level, text);
    observer.on_note(text);
}

void check_prediction(const Word& word, const DiffusionObjective::Parts& parts) {
    word.observer.on_stage("looking at what the UNet predicts");
    const PredictionLosses losses =
        prediction_losses(parts, word.plan.layout, texts_of(word.plan), word.latents, word.start);
    const std::string doubt =
        doubt_of(parts.prediction, word.plan.architecture.prediction_reason, losses);
    if (!doubt.empty()) note(LogLevel::warning, doubt, word.observer);
}

// The learning rate that 0 stands for. Adam moves every number by about its rate in a step, so that
// this is a share of what the numbers of the words that the model knows are like: one value suits
// models whose words are of another length.
double automatic_rate(const TrainSettings& settings, const TextEncoders& text_encoders) {
    const double share = settings.method == exact_gradient ? 0.6 : 0.5;
    const double typical = typical_number(text_encoders.all().front()->token_table().whole());
    require(typical > 0, "learning_rate: 0 takes a share of what the text encoder's table holds, ",
            "which is all zeros; give a rate");
    return share * typical;
}

TrainSettings with_rate(TrainSettings settings, const TextEncoders& text_encoders) {
    if (settings.learning_rate == 0)
        settings.learning_rate = automatic_rate(settings, text_encoders);
    return settings;
}

// All that one word's run refers to, over networks that others may use as well.
class Learner {
  public:
    Learner(const Word& word, const DiffusionObjective::Parts& parts)
        : plan_(word.plan),
          settings_(with_rate(plan_.settings, parts.text_encoders)),
          previewer_(parts, plan_.layout, plan_.pictures.front().texts.front(), plan_.empty_text,
                     settings_.resolution),
          alone_(parts, plan_.layout, texts_of(plan_), settings_.chunk),
          shared_(share(alone_, plan_)),
          timesteps_(settings_.timesteps, settings_.t_lower, settings_.t_upper, plan_.schedule),
          trainer_(settings_, objective(),
                   {word.latents, timesteps_, settings_.flip,
                    static_cast<std::uint64_t>(settings_.seed)},
                   *word.space, word.start),
          validation_(objective(), Validation::samples(word.latents, settings_, plan_.schedule),
                      settings_.validation_samples, plan_.load.cancel),
          run_(plan_, trainer_, validation_,
               {.draw = [this](const at::Tensor& theta) { return previewer_.draw(theta); },
                .decode = [this](const at::Tensor& latents) { return decode(plan_, latents); }},
               word.observer) {}
    Learner(const Learner&) = delete;
    Learner& operator=(const Learner&) = delete;

    Run& run() { return run_; }
    JointRun joint(OnEnd on_end) { return {&run_, &trainer_, &alone_, std::move(on_end)}; }

  private:
    static std::unique_ptr<Objective> share(DiffusionObjective& objective, const Plan& plan) {
        if (plan.ranks == nullptr) return nullptr;
        return std::make_unique<DistributedObjective>(objective, *plan.ranks, plan.settings.chunk);
    }
    Objective& objective() { return shared_ ? *shared_ : alone_; }

    const Plan& plan_;
    const TrainSettings settings_;
    Previewer previewer_;
    DiffusionObjective alone_;
    std::unique_ptr<Objective> shared_;  // among ranks
    const TimestepPlan timesteps_;
    Trainer trainer_;
    const Validation validation_;
    Run run_;
};

std::vector<Ending> learn(const Words& words, std::int64_t together,
                          const DiffusionObjective::Parts& parts) {
    std::vector<std::unique_ptr<Learner>> learners;
    for (const Word& word : words) {
        const Plan& plan = word.plan;
        if (plan.prediction_guessed && !plan.output.resume && !plan.told_elsewhere())
            check_prediction(word, parts);
        DiffusionObjective::Parts own = parts;
        own.sizes = told_sizes(plan, word.latents);
        learners.push_back(naming_subject(plan.word(), words.size(),
                                          [&] { return std::make_unique<Learner>(word, own); }));
    }
    if (words.size() == 1) {
        Ending ending;
        try {
            ending.result = learners.front()->run().execute();
        } catch (...) {
            ending.failure = std::current_exception();
        }
        words.front().on_end(ending);
        return {ending};
    }
    log_info(words.size(), " words are learned over one model, ",
             together == 1 ? "pass by pass in turn" : concat(together, " in a pass"));
    std::vector<JointRun> runs;
    for (std::size_t i = 0; i < words.size(); ++i) {
        runs.push_back(learners[i]->joint(words[i].on_end));
    }
    return execute_jointly(runs, static_cast<std::size_t>(together));
}

// together: how many words share a pass. cancel: of all of them.
std::vector<Ending> run(Words words, std::int64_t together, const CancelToken& cancel) {
    const Plan& plan = plan_of_all(words);
    LoadOptions load = plan.load;
    load.cancel = cancel;
    const ThreadCount threads(plan.settings.threads);
    const ExactProducts exact(load.device);
    make_latents(words, load);
    give_back_memory();
    const TextEncoders text_encoders = load_text(words, load);
    for (Word& word : words) {
        naming_subject(word.plan.word(), words.size(), [&] {
            word.start = start_vector(word.plan, text_encoders);
            word.space.emplace(find_directions(word, text_encoders));
        });
    }
    const Prediction prediction = plan.settings.prediction.value_or(plan.architecture.prediction);
    const UNet unet = load_unet(words, load, prediction);
    warn_unless_repeated(plan);
    if (plan.ranks) plan.ranks->compare(facts_of_weights(plan, words.front().start));
    return learn(
        words, together,
        {text_encoders, unet, prediction, plan.settings.clip_skip, load.device, plan.schedule,
         PictureSize::whole(plan.settings.resolution, plan.settings.resolution)});
}

// What the folder gave, and what it did not.
void tell_of_pictures(const Plan& plan, PersonalizeObserver& observer) {
    if (!plan.folder.pictures.empty()) {
        note(lacks_something(plan.folder) ? LogLevel::warning : LogLevel::info,
             to_text(plan.folder), observer);
    }
    std::vector<std::string> signs;
    for (const TrainingPicture& picture : plan.pictures) {
        for (const std::string& caption : picture.captions) {
            const std::string filled = fill_braces(caption, placed_words(plan));
            for (std::string& sign : unread_signs(filled, /*is_prompt=*/false)) {
                // A graph's own tokenizer has read it.
                if (plan.folder.pictures.empty() && sign == "embedding:") continue;
                if (std::find(signs.begin(), signs.end(), sign) == signs.end()) {
                    signs.push_back(std::move(sign));
                }
            }
        }
    }
    if (!signs.empty()) note(LogLevel::warning, "captions: " + signs_text(signs), observer);
}

// However a run ends, its memory goes back to the system: a host lives on.
struct GiveBackAtEnd {
    ~GiveBackAtEnd() { give_back_memory(); }
};

PersonalizeResult result_of(const Ending& ending) {
    if (ending.failure) std::rethrow_exception(ending.failure);
    return *ending.result;
}

template <class Request, class... More>
PersonalizeResult plan_and_run(const Request& request, PersonalizeObserver& observer,
                               const CancelToken& cancel, const More&... more) {
    const GiveBackAtEnd at_end;
    observer.on_stage("checking");
    const Plan plan = make_plan(request, cancel, more...);
    if (plan.ranks) plan.ranks->compare(facts_of(plan));
    if (!plan.compute_choice.empty()) note(LogLevel::info, plan.compute_choice, observer);
    tell_of_pictures(plan, observer);
    return result_of(run({{plan, observer, [](const Ending&) {}}}, 1, cancel).front());
}

// Of several, those that were begun go on and the others begin.
PersonalizeRequest begun_or_new(PersonalizeRequest request) {
    std::error_code ignored;
    request.resume = request.resume && std::filesystem::exists(state_path(request.out), ignored);
    return request;
}
const GraphRequest& begun_or_new(const GraphRequest& request) {
    return request;  // who asks has looked
}

template <class Request>
std::vector<Ending> plan_and_run_all(const std::vector<Subject<Request>>& subjects) {
    const GiveBackAtEnd at_end;
    require_apart(subjects);
    std::vector<CancelToken> cancels;
    for (const auto& subject : subjects) cancels.push_back(subject.cancel);
    std::vector<Plan> plans;
    for (const auto& subject : subjects) {
        subject.observer->on_stage("checking");
        plans.push_back(naming_subject(subject.request.word, subjects.size(), [&] {
            return make_plan(begun_or_new(subject.request), subject.cancel);
        }));
        // One set of weights is read, and tells all of them what it is.
        plans.back().load.fingerprint = plans.front().load.fingerprint;
        plans.back().load.activations = plans.front().load.activations;
        // What is said of how passes are made is said once.
        if (plans.size() > 1) plans.back().exact_offer.reset();
    }
    require_alike(plans);
    const Plan& first = plans.front();
    const std::int64_t together =
        runs_together(first.settings, *first.source, static_cast<std::int64_t>(subjects.size()));
    Words words;
    for (std::size_t i = 0; i < subjects.size(); ++i) {
        PersonalizeObserver& observer = *subjects[i].observer;
        if (i == 0 && !first.compute_choice.empty())
            note(LogLevel::info, first.compute_choice, observer);
        tell_of_pictures(plans[i], observer);
        words.push_back({plans[i], observer, [&subjects, &plans, i](const Ending& ending) {
                             plans[i].outputs.reset();  // others may have its files now
                             subjects[i].on_end(ending);
                         }});
    }
    return run(std::move(words), together, CancelToken(std::move(cancels)));
}

void tell_of_wire(const Ranks& ranks, std::int64_t steps) {
    if (steps == 0) return;
    log_info(ranks.size(), " ranks: each has sent and received ", ranks.bytes_of_steps() / steps,
             " bytes a step");
}

// However the run ends on this rank, the others hear of it.
PersonalizeResult on_ranks(const PersonalizeRequest& request, PersonalizeObserver& observer,
                           const CancelToken& cancel) {
    const auto ranks = std::make_shared<Ranks>(request.wire, request.rank_limit);
    PersonalizeObserver quiet;
    return ranks->telling([&] {
        const PersonalizeResult result = plan_and_run(request, ranks->is_first() ? observer : quiet,
                                                      cancel, /*fit=*/true, ranks);
        if (!result.finished) {
            ranks->leave(Ranks::Departure::stopped);
        } else {
            ranks->gather(Ranks::Call::end, {});  // rank 0 has written its files
        }
        tell_of_wire(*ranks, result.steps);
        return result;
    });
}

}  // namespace

PersonalizeResult personalize(const PersonalizeRequest& request, PersonalizeObserver& observer,
                              const CancelToken& cancel) {
    return request.wire ? on_ranks(request, observer, cancel)
                        : plan_and_run(request, observer, cancel);
}

PersonalizeResult personalize(const GraphRequest& request, PersonalizeObserver& observer,
                              const CancelToken& cancel) {
    return plan_and_run(request, observer, cancel);
}

std::vector<Ending> personalize(const std::vector<Subject<PersonalizeRequest>>& subjects) {
    return plan_and_run_all(subjects);
}

std::vector<Ending> personalize(const std::vector<Subject<GraphRequest>>& subjects) {
    return plan_and_run_all(subjects);
}

}  // namespace zoodip
