#include "train/plan.h"

#include <algorithm>
#include <set>
#include <utility>

#include "ranks/shares.h"

#include "core/ascii.h"
#include "core/error.h"
#include "core/json.h"
#include "core/log.h"
#include "core/sha256.h"
#include "nn/manifest.h"
#include "objective/engine.h"
#include "objective/noise.h"
#include "pictures/caption_templates.h"
#include "train/going_on.h"
#include "train/run_files.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;

// What a graph's weights were read from; what is wired in is no file.
std::vector<Input> file_of(const WeightSource& source) {
    std::error_code none;
    if (!fs::exists(source.description(), none)) return {};
    return {{source.description(), "the model"}};
}

// One number for all words: of the longest initialiser where none is asked for.
std::int64_t vectors_for(std::int64_t asked, const std::vector<StartedWord>& started) {
    std::int64_t words = 0;
    for (const StartedWord& word : started) words = std::max(words, count_of(word.start));
    require(asked == 0 || asked >= words, "vectors: needs at least one for each of the ", words,
            " words of the initialiser, or 0 for as many, got ", asked);
    return std::max(asked, words);
}

// What was left open of that which depends on a machine and its files, as it was decided before.
AskedSettings with_open(AskedSettings asked, const nlohmann::json& settings) {
    if (!settings.is_object()) return asked;
    const std::pair<const char*, bool> parts[] = {{"steps", asked.values.steps == 0},
                                                  {"method", !asked.values.method},
                                                  {"compute", !asked.values.compute},
                                                  {"chunk", asked.values.chunk == 0}};
    for (const auto& [name, open] : parts) {
        if (open && settings.contains(name)) asked.choose(name, settings[name]);
    }
    return asked;
}

// What a stopped run decided by the memory and the processor of its time holds for it to the end;
// and its steps, where no others are asked for.
AskedSettings as_decided(AskedSettings asked, const Output& output) {
    if (!output.resume) return asked;
    const auto before = saved_run(output.token);
    return before
               ? with_open(std::move(asked), before->identity.value("settings", nlohmann::json()))
               : asked;
}

// One with which each rank has something to do.
std::int64_t chunk_for(const TrainSettings& settings, const Ranks& ranks) {
    if (settings.method == exact_gradient) return settings.chunk;
    const std::int64_t points = points_of(settings);
    const std::int64_t chunk = best_chunk(settings.batch, points, settings.chunk, ranks.size());
    return chunk == points ? settings.chunk : chunk;
}

// Rank 0's decisions are those of all; a run of one process decides for itself.
DecidedSettings decide_for_all(const Plan& plan, const AskedSettings& asked, bool fit) {
    if (plan.ranks == nullptr) return decide(as_decided(asked, plan.output), *plan.source, fit);
    Ranks& ranks = *plan.ranks;
    const int here = ranks.local_size();
    if (!ranks.is_first()) {
        const nlohmann::json first = parse_json(ranks.share({}));
        DecidedSettings decided = decide(with_open(asked, first), *plan.source, fit, here);
        decided.settings.preview_every = 0;
        return decided;
    }
    const AskedSettings known = as_decided(asked, plan.output);
    DecidedSettings decided = decide(known, *plan.source, fit, here);
    if (!known.chosen.contains("chunk")) {
        decided.settings.chunk = chunk_for(decided.settings, ranks);
    }
    ranks.share(show_json(result_settings(decided.settings)));
    return decided;
}

// Why the run of an identity took its products; empty where it does not say.
std::string choice_of(const nlohmann::json& identity) {
    if (!identity.is_object()) return {};
    const auto reason = identity.value("compute_choice", nlohmann::json());
    return reason.is_string() ? reason.get<std::string>() : std::string();
}

// Previews become pictures where there is a folder for them; in a graph they stay latents.
Halves halves_of(const Plan& plan) {
    return {.encoder = true,
            .decoder = plan.settings.preview_every > 0 && !plan.output.previews.empty()};
}

// What the settings would make of the weights' own schedule does not act beside another.
void leave_noise_open(TrainSettings& settings) {
    const TrainSettings untouched;
    settings.zero_snr = untouched.zero_snr;
    settings.beta_schedule = untouched.beta_schedule;
    settings.beta_start = untouched.beta_start;
    settings.beta_end = untouched.beta_end;
}

// The schedule of a graph is the host's: what was chosen beside it would not act.
void decide_noise(Plan& plan, const TrainSettings& asked) {
    TrainSettings& settings = plan.settings;
    if (plan.own_schedule) {
        const BetaSchedule betas = choose_betas(settings, plan.architecture);
        plan.schedule = NoiseSchedule(betas);
        warn_of_noise(settings.prediction.value_or(plan.architecture.prediction), betas);
        return;
    }
    const std::pair<const char*, bool> parts[] = {{"zero_snr", !asked.zero_snr},
                                                  {"beta_schedule", !asked.beta_schedule},
                                                  {"beta_start", asked.beta_start == 0},
                                                  {"beta_end", asked.beta_end == 0}};
    for (const auto& [name, open] : parts) {
        require(open, name,
                ": the wired model brings its own noise schedule; change it on the wire "
                "(ModelSamplingDiscrete), or train from the checkpoint");
    }
    leave_noise_open(settings);
}

void warn_of_distilled(const WeightSource& source) {
    const std::string sign = sign_of_distillation(source);
    if (sign.empty()) return;
    log_warning(source.description(), ": is a distilled model, by '", sign,
                "' in its name or metadata. Its loss tells little but near the few timesteps that "
                "it was made for: train on the model that it was made from, and use the word here");
}

void require_integers(const LoadOptions& load) {
    require(load.device.is_cpu(), "compute: int8 runs on the CPU; use bf16 on ", load.device.str());
    require(has_panel_product(ProductType::int8),
            "compute: int8 needs a processor with AVX2 or better; use fp32");
}

// What follows from source, settings and word.
void complete(Plan& plan, const AskedSettings& asked, const CancelToken& cancel, bool fit = true) {
    plan.architecture = detect_architecture(*plan.source);
    const DecidedSettings decided = decide_for_all(plan, asked, fit);
    plan.settings = decided.settings;
    plan.prediction_guessed = plan.architecture.prediction_guessed && !asked.values.prediction;
    plan.compute_choice = decided.compute_choice;
    require_whole(*plan.source, plan.architecture, halves_of(plan));
    warn_of_unread(*plan.source, plan.architecture);
    warn_of_distilled(*plan.source);
    decide_noise(plan, asked.values);
    if (plan.output.resume) {
        const auto before = saved_run(plan.output.token);
        if (before) {
            require_reachable(*before, plan.settings, state_path(plan.output.token));
            if (!asked.values.compute) plan.compute_choice = choice_of(before->identity);
        }
    }
    plan.memory = estimate_memory(*plan.source, take_inventory(*plan.source), plan.settings);
    if (fit && !plan.output.resume && plan.ranks == nullptr)
        plan.exact_offer = exact_offer(plan.settings, asked, *plan.source);
    plan.settings.vectors = vectors_for(plan.settings.vectors, plan.words);
    require_size(*plan.source, plan.settings.resolution, plan.settings.resolution);
    for (const StartedWord& word : plan.words) {
        for (const TextEncoderSpec& spec : plan.architecture.encoders) {
            plan.layout.add(word.word, spec.key, plan.settings.vectors, spec.width);
        }
    }
    plan.load = {plan.settings.weights, *plan.settings.compute, open_device(plan.settings.device),
                 cancel};
    plan.load.fingerprint = std::make_shared<Sha256>();
    if (plan.load.compute == ComputeType::int8) {
        require_integers(plan.load);
        plan.load.activations = std::make_shared<Activations>();
    }
}

std::string digest(const at::Tensor& tensor) {
    const at::Tensor plain = tensor.to(at::kCPU, at::kFloat).contiguous();
    Sha256 hash;
    hash.update(std::as_bytes(
        std::span(plain.const_data_ptr<float>(), static_cast<std::size_t>(plain.numel()))));
    return hash.hex();
}

// Of one encoder's that of the tensor, of several's all of them by name.
nlohmann::json digest(const EncoderTensors& tensors) {
    if (tensors.size() == 1) return digest(tensors.begin()->second);
    auto all = nlohmann::json::object();
    for (const auto& [encoder, tensor] : tensors) all[encoder] = digest(tensor);
    return all;
}

std::string digest(const NoiseSchedule& schedule) {
    std::vector<double> all;
    for (std::int64_t t = 0; t < schedule.steps(); ++t) all.push_back(schedule.alphas_cumprod(t));
    Sha256 hash;
    hash.update(std::as_bytes(std::span(all)));
    return hash.hex();
}

nlohmann::json identity_of(const TrainingPicture& picture) {
    nlohmann::json out = {
        {"name", picture.name}, {"sha256", picture.sha256}, {"captions", picture.captions}};
    const EncoderTensors& others = picture.texts.front().fixed_vectors;
    if (!others.empty()) out["other_words"] = digest(others);
    if (picture.repeats > 1) out["repeats"] = picture.repeats;
    return out;
}

// What was not chosen is taken from the run that made a token. A word's name that was given is the
// request's.
PersonalizeRequest as_before(const PersonalizeRequest& given, const nlohmann::json& before) {
    PersonalizeRequest request = given;
    nlohmann::json settings = before["settings"];
    add_younger_settings(settings);
    settings.update(request.settings);
    request.settings = settings;
    if (request.word.empty()) request.word = before["word"].get<std::string>();
    if (request.initialiser.empty()) {
        request.initialiser = before["initialiser"].get<std::string>();
    }
    for (const auto& word : before.value("learned_with", nlohmann::json::array())) {
        if (!given.also.empty()) break;
        request.also.push_back({word.value("word", ""), word.value("initialiser", "")});
    }
    return request;
}

// Whether the identity of a run says what it was asked for.
bool says_how(const nlohmann::json& identity) {
    const auto has_text = [](const nlohmann::json& from, const char* name) {
        return from.is_object() && from.value(name, nlohmann::json()).is_string();
    };
    const auto is_word = [&](const nlohmann::json& from) {
        return has_text(from, "word") && has_text(from, "initialiser");
    };
    if (!is_word(identity) || !identity.value("settings", nlohmann::json()).is_object()) {
        return false;
    }
    const auto others = identity.value("learned_with", nlohmann::json::array());
    return others.is_array() && std::all_of(others.begin(), others.end(), is_word);
}

nlohmann::json identity_to_repeat(const fs::path& token) {
    const nlohmann::json identity = recorded_identity(token);
    require(says_how(identity), "like: ", token.string(),
            " does not say how it was made: it needs a token that zoodip trained");
    return identity;
}

void require_words(const PersonalizeRequest& request) {
    require(!request.word.empty(), "word: needs a name for the new word, for example sks");
    require(!request.initialiser.empty(), "init: needs a word for the kind of thing, for example ",
            "dog");
    for (const NewWord& other : request.also) {
        require(!other.word.empty() && !other.initialiser.empty(),
                "also: needs a word and a word for the kind of thing, for example ohwx and person");
    }
}

// Templates speak of one word: of several each picture has a caption of its own.
std::vector<std::string> captions_of(const Plan& plan) {
    const TrainSettings& settings = plan.settings;
    if (!settings.caption.empty()) return {settings.caption};
    if (plan.words.size() > 1) return {};
    return caption_templates(settings.templates);
}

// Throws Error where two words are the same, which prompts tell by their letters alone, or the
// files of one would be those of another.
void require_apart(const Plan& plan) {
    std::set<std::string> names;
    std::set<fs::path> files;
    for (const StartedWord& word : plan.words) {
        require(names.insert(lower_ascii(word.word)).second, "also: '", word.word,
                "' is two of the words to learn; each needs a name of its own");
    }
    for (const fs::path& token : tokens_of(plan.output)) {
        require(files.insert(token_of(token)).second, "also: ", token.string(),
                " would be written by two of the words; name another word, or another `out`");
    }
}

// Every word is learned from some caption.
void require_all_placed(const Plan& plan) {
    if (plan.words.size() == 1) return;
    for (std::size_t i = 0; i < plan.words.size(); ++i) {
        const std::string& word = plan.words[i].word;
        const bool placed =
            std::any_of(plan.pictures.begin(), plan.pictures.end(), [&](const auto& picture) {
                return std::any_of(picture.texts.begin(), picture.texts.end(),
                                   [&](const PreparedText& text) { return has_word(text, i); });
            });
        require(placed, "word '", word, "': none of the captions has it; write {", word,
                "} where it is seen");
    }
}

std::vector<StartedWord> words_of(const GraphRequest& request) {
    std::vector<StartedWord> words = {{request.word, request.initialiser, request.start}};
    words.insert(words.end(), request.also.begin(), request.also.end());
    return words;
}

StartedWord started(const Tokenizer& tokenizer, const std::string& word,
                    const std::string& initialiser) {
    check_placeholder(tokenizer, word, initialiser);
    return {word, initialiser, initialiser_ids(tokenizer, initialiser)};
}

// Every occurrence has room for the word's vectors.
void require_room(const TrainingPicture& picture, std::int64_t vectors, std::size_t words) {
    for (const PreparedText& text : picture.texts) {
        for (const auto& place : text.places) {
            require(place.word < words, picture.name, ": its caption has a word number ",
                    place.word + 1, ", and there are ", words);
            require(place.position + vectors <= text.ids.size(1), picture.name, ": the word's ",
                    vectors, " vectors do not fit behind token ", place.position,
                    " of its caption, which has ", text.ids.size(1));
        }
    }
}

}  // namespace

fs::path token_called(const fs::path& folder, const std::string& word) {
    return folder / (word + ".safetensors");
}

std::vector<PlacedWord> placed_words(const Plan& plan) {
    std::vector<PlacedWord> placed;
    for (const StartedWord& word : plan.words) placed.push_back({word.word, plan.settings.vectors});
    return placed;
}

std::int64_t count_of(const StartVectors& start) {
    if (const auto* ids = std::get_if<std::vector<std::int64_t>>(&start)) {
        return static_cast<std::int64_t>(ids->size());
    }
    const EncoderTensors& vectors = std::get<EncoderTensors>(start);
    require(!vectors.empty(), "init: needs vectors to start from, got none");
    const at::Tensor& first = vectors.begin()->second;
    return first.dim() == 2 ? first.size(0) : 1;
}

Plan make_plan(const PersonalizeRequest& given, const CancelToken& cancel, bool fit,
               std::shared_ptr<Ranks> ranks) {
    Plan plan;
    plan.ranks = std::move(ranks);
    PersonalizeRequest request = given;
    if (!request.like.empty()) {
        plan.like = identity_to_repeat(request.like);
        request = as_before(request, plan.like);
    }
    require_words(request);
    // Names and ranges first: they cost nothing.
    const AskedSettings asked = read_settings(request.settings);
    const TrainSettings settings = fill_in(asked);
    const Tokenizer& tokenizer = clip_tokenizer();
    plan.words.push_back(started(tokenizer, request.word, request.initialiser));
    plan.output = {request.out, request.resume, request.overwrite, request.log, request.previews};
    for (const NewWord& other : request.also) {
        plan.words.push_back(started(tokenizer, other.word, other.initialiser));
        plan.output.also.push_back(
            other.out.empty() ? token_called(request.out.parent_path(), other.word) : other.out);
    }
    require_apart(plan);
    if (plan.output.previews.empty()) {
        plan.output.previews = fs::path(request.out).replace_extension(".previews");
    }
    if (plan.told_elsewhere()) {
        plan.output.log.clear();
    } else {
        plan.outputs = hold_outputs(plan.output,
                                    {{request.model, "the model"},
                                     pictures_in(request.images),
                                     {request.like, "the token to repeat"}},
                                    settings.preview_every);
    }
    plan.source = open_weights(request.model);
    complete(plan, asked, cancel, fit);
    const bool open = !read_settings(given.settings).values.compute;
    if (open && plan.compute_choice.empty()) plan.compute_choice = choice_of(plan.like);
    plan.folder = read_picture_folder(request.images);
    plan.pictures =
        training_pictures(plan.folder, captions_of(plan), tokenizer, placed_words(plan));
    require_all_placed(plan);
    plan.empty_text = prepare_text(tokenizer, "", {});
    return plan;
}

Plan make_plan(const GraphRequest& request, const CancelToken& cancel) {
    const AskedSettings asked = read_settings(request.settings);
    const TrainSettings settings = fill_in(asked);
    require(!request.pictures.empty(), "pictures: needs at least one, got none");
    Plan plan;
    plan.words = words_of(request);
    for (const StartedWord& word : plan.words) {
        check_placeholder(clip_tokenizer(), word.word, word.initialiser);
    }
    plan.output = request.output;
    require_apart(plan);
    plan.outputs = hold_outputs(plan.output, file_of(*request.source), settings.preview_every);
    plan.source = request.source;
    if (request.alphas_cumprod) plan.schedule = NoiseSchedule(*request.alphas_cumprod);
    plan.own_schedule = !request.alphas_cumprod;
    complete(plan, asked, cancel);
    if (plan.compute_choice.empty()) plan.compute_choice = request.compute_choice;
    plan.pictures = request.pictures;
    for (const auto& picture : plan.pictures)
        require_room(picture, plan.settings.vectors, plan.words.size());
    require_all_placed(plan);
    plan.empty_text = request.empty_text;
    plan.check = request.check;
    return plan;
}

namespace {

nlohmann::json identity_of(const StartedWord& word) {
    nlohmann::json out = {{"word", word.word}, {"initialiser", word.initialiser}};
    if (const auto* vectors = std::get_if<EncoderTensors>(&word.start))
        out["start"] = digest(*vectors);
    return out;
}

// What files and a graph's request have in common of an identity.
nlohmann::json identity_with(const std::vector<StartedWord>& words,
                             const std::vector<TrainingPicture>& all_pictures,
                             const TrainSettings& settings, const std::string& model,
                             const NoiseSchedule* other_schedule) {
    nlohmann::json pictures = nlohmann::json::array();
    for (const auto& picture : all_pictures) pictures.push_back(identity_of(picture));
    nlohmann::json identity = identity_of(words.front());
    identity.update({{"zoodip", ZOODIP_VERSION},
                     {"settings", result_settings(settings)},
                     {"model", model},
                     {"pictures", pictures}});
    for (std::size_t i = 1; i < words.size(); ++i) {
        identity["learned_with"].push_back(identity_of(words[i]));
    }
    if (other_schedule != nullptr) identity["schedule"] = digest(*other_schedule);
    return identity;
}

}  // namespace

nlohmann::json identity_of(const Plan& plan) {
    nlohmann::json identity =
        identity_with(plan.words, plan.pictures, plan.settings, plan.load.fingerprint->hex(),
                      plan.own_schedule ? nullptr : &plan.schedule);
    identity["family"] = plan.architecture.family;
    if (!plan.folder.pictures.empty()) identity["folder"] = to_text(plan.folder);
    if (!plan.compute_choice.empty()) identity["compute_choice"] = plan.compute_choice;
    return identity;
}

RunKeys keys_of(const GraphRequest& request, const TrainSettings& decided,
                const std::string& weights) {
    TrainSettings settings = decided;
    std::optional<NoiseSchedule> schedule;
    if (request.alphas_cumprod) {
        schedule.emplace(*request.alphas_cumprod);
        leave_noise_open(settings);
    }
    const std::vector<StartedWord> words = words_of(request);
    settings.vectors = vectors_for(settings.vectors, words);
    nlohmann::json identity =
        identity_with(words, request.pictures, settings, weights, schedule ? &*schedule : nullptr);
    // A graph brings its own tokenizer: what it made of the texts is not the engine's to make.
    for (std::size_t i = 0; i < words.size(); ++i) {
        const auto* ids = std::get_if<std::vector<std::int64_t>>(&words[i].start);
        if (ids != nullptr) (i == 0 ? identity : identity["learned_with"][i - 1])["start"] = *ids;
    }
    for (std::size_t i = 0; i < request.pictures.size(); ++i) {
        for (const PreparedText& text : request.pictures[i].texts) {
            const at::Tensor ids = text.ids.contiguous();
            const auto* data = ids.const_data_ptr<std::int64_t>();
            identity["pictures"][i]["ids"].push_back(
                std::vector<std::int64_t>(data, data + ids.numel()));
        }
    }
    Sha256 hash;
    hash.update(show_json(identity));
    return {hash.hex(), lineage_id(identity)};
}

}  // namespace zoodip
