// All that a training needs, from files or from what a graph hands over: the same Plan.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include <nlohmann/json.hpp>

#include "ranks/ranks.h"

#include "core/cancel.h"
#include "diffusion/schedule.h"
#include "nn/loader.h"
#include "objective/dataset.h"
#include "objective/self_check.h"
#include "settings/settings.h"
#include "train/decide.h"
#include "train/exact_offer.h"
#include "train/memory_estimate.h"
#include "train/run_outputs.h"
#include "words/token_layout.h"

namespace zoodip {

// A word to learn beside another, in the same captions.
struct NewWord {
    std::string word;                // the placeholder
    std::string initialiser;         // words for the kind of thing
    std::filesystem::path out = {};  // its token file; empty for one called after it beside `out`
};

// What a command names: files.
struct PersonalizeRequest {
    std::filesystem::path model;   // a checkpoint or a diffusers folder
    std::filesystem::path images;  // a folder
    std::string word;              // the placeholder, for example sks
    std::string initialiser;       // words for the kind of thing, each a single token
    std::filesystem::path out;     // the token file
    nlohmann::json settings = nlohmann::json::object();  // what differs from the defaults
    bool resume = false;                  // go on from the state that an earlier run left
    bool overwrite = false;               // replace earlier outputs, and forget a stopped run
    std::filesystem::path log = {};       // JSON lines; empty for none
    std::filesystem::path previews = {};  // folder; empty puts them into OUT.previews
    std::filesystem::path like = {};      // a token whose run to repeat; empty for none
    std::shared_ptr<Wire> wire = {};      // to the other ranks of the run; null for one process
    double rank_limit = 0;                // seconds to wait for them (Ranks)
    std::vector<NewWord> also = {};       // further words in the captions
};

// The words that the new one starts from: rows of the tables, or vectors [count, width] for each
// text encoder.
using StartVectors = std::variant<std::vector<std::int64_t>, EncoderTensors>;
std::int64_t count_of(const StartVectors& start);

// A word and what it starts from.
struct StartedWord {
    std::string word;
    std::string initialiser;  // as the user wrote it
    StartVectors start;
};

// What a graph hands over.
struct GraphRequest {
    std::shared_ptr<const WeightSource> source;
    std::vector<TrainingPicture> pictures;  // decoded, their texts tokenised
    std::string word;
    std::string initialiser;  // as the user wrote it
    StartVectors start;
    Output output;
    nlohmann::json settings = nlohmann::json::object();
    std::optional<std::vector<double>> alphas_cumprod;  // nothing: that of weights and settings
    PreparedText empty_text;                            // "", for guidance in previews
    SelfCheck check;
    std::string compute_choice;  // why the settings' products are of their type, if it is known
    std::vector<StartedWord> also = {};  // further words in the captions
};

// Everything known before a weight is read.
struct Plan {
    std::vector<StartedWord> words;  // at least one; theta has their vectors one after another
    Output output;
    std::shared_ptr<const Outputs> outputs;  // held until the run is over
    std::shared_ptr<const WeightSource> source;
    Architecture architecture;
    TrainSettings settings;
    std::string compute_choice;  // as in DecidedSettings
    MemoryEstimate memory;
    std::optional<ExactOffer> exact_offer;  // of a run that begins
    NoiseSchedule schedule;
    bool own_schedule = true;         // false: the graph brought another
    bool prediction_guessed = false;  // neither the files nor a setting say what the UNet predicts
    LoadOptions load;
    PictureFolder folder;  // that the pictures are from; empty for those of a graph
    std::vector<TrainingPicture> pictures;
    TokenLayout layout;
    PreparedText empty_text;
    SelfCheck check;
    nlohmann::json like;           // the identity to repeat; null for none
    std::shared_ptr<Ranks> ranks;  // that share the run; null for one process

    const std::string& word() const { return words.front().word; }
    // Whether another process writes the files, asks and tells.
    bool told_elsewhere() const { return ranks != nullptr && !ranks->is_first(); }
};

// WORD.safetensors in a folder.
std::filesystem::path token_called(const std::filesystem::path& folder, const std::string& word);

// The words as captions have them.
std::vector<PlacedWord> placed_words(const Plan& plan);

// Check names, settings, captions and outputs, cheapest first. Throw Error. fit: as `decide`. Of a
// run on several ranks each makes the same plan: what depends on the machine rank 0 decides for
// all, and it alone holds outputs. Throws what Ranks::gather does, too.
Plan make_plan(const PersonalizeRequest& request, const CancelToken& cancel, bool fit = true,
               std::shared_ptr<Ranks> ranks = nullptr);
Plan make_plan(const GraphRequest& request, const CancelToken& cancel);

// What a run is. Two runs with equal identities make the same word; "folder", what was read and
// left out of the pictures' folder, and "compute_choice" decide nothing. The model's digest is that
// of the weights read so far: asked for once all are.
nlohmann::json identity_of(const Plan& plan);

// By what a graph's training is found again, before a weight is read. 64 hexadecimal digits each.
struct RunKeys {
    std::string key;      // of all that decides what is learned
    std::string lineage;  // the same for trainings that go on into one another
};
// decided: the request's settings as `decide` has them. weights: what stands for the model
// and all that is patched into it.
RunKeys keys_of(const GraphRequest& request, const TrainSettings& decided,
                const std::string& weights);

}  // namespace zoodip
