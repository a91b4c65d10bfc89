#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/commands.h"
#include "cli/interruption.h"
#include "cli/progress.h"
#include "cli/setting_options.h"
#include "cli/subject_observer.h"
#include "cli/subject_options.h"

#include "core/duration.h"
#include "core/listed.h"
#include "core/niceness.h"
#include "ops/plain_message.h"
#include "train/personalize.h"

namespace zoodip {
namespace {

struct TrainOptions {
    PersonalizeRequest request;
    SubjectOptions subjects;
    SettingOptions settings;
    std::vector<std::string> also;
    std::string nice = open_name;
};

class TerminalObserver : public PersonalizeObserver {
  public:
    // nice: nothing leaves it to the length of the run.
    explicit TerminalObserver(std::optional<bool> nice) : nice_(nice) {}

    void on_stage(const std::string& stage) override { line_.note(stage + " ..."); }

    void on_event(const nlohmann::json& event) override {
        if (event["event"] == "start") {
            line_.note(what_it_takes(event));
            resolution_ = event["run"]["settings"]["resolution"].get<std::int64_t>();
            steps_left_ = event["steps"].get<std::int64_t>() - event["step"].get<std::int64_t>();
        }
        if (event["event"] == "forecast") foretell(event);
        if (event["event"] == "validation") {
            validated_ = concat("  validation ", short_number(event["loss"].get<double>()),
                                event["best"].get<bool>() ? " (best)" : "");
        }
        if (event["event"] == "step") passes_ = event["forward_passes"].get<std::int64_t>();
    }

    void on_step(std::int64_t step, std::int64_t steps, double, double loss) override {
        if (++seen_ == 1) began_ = std::chrono::steady_clock::now();
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began_;
        const double rate = seen_ > 1 ? static_cast<double>(seen_ - 1) / took.count() : 0;
        std::string detail =
            concat("loss ", short_number(loss), validated_, "  ", passes_, " passes");
        if (rate > 0) {
            detail += rate >= 1 ? concat("  ", short_number(rate), " it/s")
                                : concat("  ", short_number(1 / rate), " s/it");
            detail += "  " + format_duration(static_cast<double>(steps - step) / rate) + " left";
        }
        line_.show(step, steps, detail);
    }

  private:
    // "600 steps at 0.19 s: about 1 min 54 s"
    void foretell(const nlohmann::json& event) {
        const double total = event["seconds_left"].get<double>();
        line_.note(concat(steps_left_, " steps at ",
                          short_number(event["seconds_a_step"].get<double>()), " s: about ",
                          format_duration(total)));
        if (total > 3600) line_.note(quicker(total, steps_left_));
        if (nice_.value_or(total > 600 && serves_a_desktop()) && give_way()) {
            line_.note(
                "Other programs go first while they need the processor (--nice off: a "
                "share like theirs).");
        }
        began_ = std::chrono::steady_clock::now();
    }

    // "rge: 3 forward passes a step; memory about 1600 MB (...)"
    static std::string what_it_takes(const nlohmann::json& start) {
        const auto megabytes = [&](const char* part) {
            return std::llround(start["memory"][part].get<double>() / 1e6);
        };
        const auto backward = start["backward_passes_a_step"].get<std::int64_t>();
        return concat(start["run"]["settings"]["method"].get<std::string>(), ": ",
                      start["forward_passes_a_step"].get<std::int64_t>(), " forward",
                      backward > 0 ? concat(" and ", backward, " backward") : std::string(),
                      " passes a step; memory about ", megabytes("peak"), " MB (program ",
                      megabytes("program"), ", text encoder ", megabytes("text_encoder"), ", UNet ",
                      megabytes("unet"), ", one layer ", megabytes("layer"), ", activations ",
                      megabytes("activations"), "; encoding pictures ", megabytes("encoding"), ")");
    }

    static std::string short_number(double value) {
        char text[32];
        std::snprintf(text, sizeof text, "%.3g", value);
        return text;
    }

    std::string quicker(double total, std::int64_t steps) const {
        std::string text = "That is long. Quicker: ";
        const std::int64_t half = resolution_ / 2 / 64 * 64;  // sides that models take
        if (half >= 256) {
            text += concat("--resolution ", half, " (about ", format_duration(total / 4), "), ");
        }
        const std::int64_t fewer = std::max<std::int64_t>(1, steps / 10);
        return text + concat("--steps ", fewer, " (about ", format_duration(total / 10),
                             ", a rougher likeness). Ctrl-C stops and keeps what was learned.");
    }

    std::optional<bool> nice_;
    std::string validated_;
    std::int64_t passes_ = 0, steps_left_ = 0, resolution_ = 0;  // of this run
    ProgressLine line_;
    std::chrono::steady_clock::time_point began_{};
    std::int64_t seen_ = 0;
};

// The ranks of torchrun, each alone, would write over one another's word.
void refuse_unknown_ranks() {
    const char *run = std::getenv("TORCHELASTIC_RUN_ID"), *size = std::getenv("WORLD_SIZE");
    if (run == nullptr || size == nullptr || std::atoi(size) < 2) return;
    fail("train: torchrun has started ", size, " ranks of the program `zoodip`, which runs alone. ",
         "Have it start `-m -- zoodip train ...`");
}

std::string listed_paths(const std::vector<std::filesystem::path>& files) {
    std::vector<std::string> names;
    for (const auto& file : files) names.push_back(file.string());
    return listed(names);
}

void tell_of_result(const PersonalizeResult& result) {
    if (!result.finished) {
        std::cerr << "\nstopped at step " << result.steps << ": the word so far is in "
                  << listed_paths(result.tokens) << "; the same command with --resume goes on\n";
        return;
    }
    for (const auto& token : result.tokens) std::cerr << "done: " << token.string() << '\n';
    if (result.word_step != result.steps) {
        std::cerr << "it is the word of step " << result.word_step
                  << ", which had the lowest validation loss\n";
    } else if (!result.best.empty() && result.best_step != result.steps) {
        std::cerr << "lowest validation loss at step " << result.best_step << ": "
                  << result.best.string() << '\n';
    }
}

int train_one(const TrainOptions& options, const CancelToken& cancel) {
    const PersonalizeRequest& request = options.request;
    require(!request.images.empty(), "train: needs --images, the folder of pictures, or --subject");
    if (request.wire == nullptr) refuse_unknown_ranks();
    const bool quiet = request.wire != nullptr && request.wire->rank() > 0;
    TerminalObserver observer(value_named(on_off_names(), "nice", options.nice));
    const PersonalizeResult result = personalize(request, observer, cancel);
    if (!quiet) tell_of_result(result);
    return result.finished ? 0 : exit_status(130);
}

// Says how one of several ended; the exit status for it.
int tell_of_ending(const std::string& word, const Ending& ending) {
    if (ending.result) {
        tell_of_result(*ending.result);
        return ending.result->finished ? 0 : exit_status(130);
    }
    try {
        std::rethrow_exception(ending.failure);
    } catch (const Cancelled&) {
        std::cerr << "stopped before the first step of '" << word << "'\n";
        return exit_status(130);
    } catch (const std::exception& error) {
        std::cerr << concat("zoodip: error: subject '", word, "': ", plain_message(error), '\n');
        return 1;
    }
}

int train_all(const TrainOptions& options, const CancelToken& cancel) {
    if (options.request.wire == nullptr) refuse_unknown_ranks();
    TerminalObserver terminal(value_named(on_off_names(), "nice", options.nice));
    SubjectProgress progress(terminal);
    std::vector<std::unique_ptr<SubjectObserver>> observers;
    std::vector<Subject<PersonalizeRequest>> subjects;
    int status = 0;  // a failure's rather than a stop's
    for (const PersonalizeRequest& request : options.subjects.requests(options.request)) {
        observers.push_back(progress.add());
        subjects.push_back({request, observers.back().get(), cancel,
                            [&status, word = request.word](const Ending& ending) {
                                const int own = tell_of_ending(word, ending);
                                if (own == 1 || status == 0) status = own;
                            }});
    }
    personalize(subjects);
    return status;
}

int train(const TrainOptions& options, const CancelToken& cancel) {
    return options.subjects.given() ? train_all(options, cancel) : train_one(options, cancel);
}

}  // namespace

void add_train_command(CLI::App& app, Command& chosen, const std::shared_ptr<Wire>& wire) {
    auto options = std::make_shared<TrainOptions>();
    CLI::App* command = app.add_subcommand("train", "Learn a word from a folder of pictures");
    command->footer(
        "Several processes or machines share a run: torchrun --nproc-per-node 2 -m -- zoodip train "
        "...; docs/RANKS.md");
    auto& request = options->request;
    request.wire = wire;
    command->add_option("--model", request.model, "Checkpoint (.safetensors) or diffusers folder")
        ->required();
    command->add_option("--images", request.images,
                        "Folder of 4 to 6 pictures of the subject; "
                        "NAME.txt beside NAME.jpg is its caption; NAME.caption, NAME.jpg.txt, "
                        "metadata.jsonl and folders such as \"10_sks dog\" are read as well");
    command->add_option("--word", request.word, "The new word, for example sks");
    command->add_option("--init", request.initialiser,
                        "A known word for the kind of thing, for example dog; several make a word "
                        "of as many vectors");
    command
        ->add_option("--out", request.out,
                     "The token file to write, .safetensors; of several subjects their folder")
        ->required();
    command
        ->add_option("--also", options->also,
                     "WORD:INIT, a further word in the same captions, where {WORD} stands for it, "
                     "as in \"a photo of {sks} and {ohwx}\"; WORD.safetensors lies beside --out")
        ->take_all();
    options->subjects.add_to(*command);
    command->add_option(
        "--like", request.like,
        "A token whose run to repeat: word, init, further words and settings are its "
        "own unless they are given");
    command->add_option("--log", request.log, "Write the run's events there as JSON lines");
    command->add_option("--previews", request.previews,
                        "Folder for the pictures of --preview-every [OUT.previews]");
    command->add_flag("--resume", request.resume,
                      "Go on from where a stopped run was, or a finished one with more --steps");
    command->add_flag("--overwrite", request.overwrite, "Replace an earlier --out");
    command
        ->add_option("--nice", options->nice,
                     "Let other programs go first while they need the processor; auto does for a "
                     "run of more than ten minutes on a machine with a desktop")
        ->check(CLI::IsMember(names_in(on_off_names())))
        ->capture_default_str();
    command
        ->add_option("--rank-limit", request.rank_limit,
                     "Seconds that ranks wait for one of them before the run ends with what was "
                     "learned; 0 takes a minute and a hundred steps' time")
        ->check(CLI::Range(0.0, 1e6))
        ->capture_default_str();
    options->settings.add_to(*command);
    command->callback([options, command, &chosen] {
        chosen = [options, command](const CancelToken& cancel) {
            options->request.settings = options->settings.chosen(*command);
            options->request.also = parse_also(options->also);
            return train(*options, cancel);
        };
    });
}

}  // namespace zoodip
