#include "service/graph_learning.h"

#include <chrono>
#include <cmath>
#include <optional>
#include <system_error>
#include <utility>

#include "service/run_bridge.h"

#include "core/duration.h"
#include "core/error.h"
#include "core/log.h"
#include "nn/inventory.h"
#include "train/going_on.h"
#include "train/personalize.h"
#include "train/run_files.h"
#include "words/token_file.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::milliseconds look_every{200};  // whether the wait was cancelled
constexpr std::chrono::milliseconds bar_every{250};

// What method auto chooses between, the better one first.
constexpr const char* candidates[] = {"exact", "rge"};

// A request with every setting decided, so that its key stands for what is really done.
struct Decided {
    TrainSettings settings;
    nlohmann::json named;  // the same, as a request has them
    std::string compute_choice;
    RunKeys keys;
};

// What is kept of a training, or of a shorter one of its kind.
struct Begun {
    enum class Kind { nothing, finished, goes_on } kind = Kind::nothing;
    Job job;
    std::int64_t step = 0;
};

bool is_file(const fs::path& file) {
    std::error_code ignored;
    return fs::is_regular_file(file, ignored);
}

Decided decide(const GraphRequest& request, const nlohmann::json& asked,
               const std::string& weights) {
    // The chunk follows the memory of the moment, and another moment must find the same training.
    const DecidedSettings decided = settings_for(asked, *request.source, /*fit=*/false);
    Decided out{decided.settings, get_fields(decided.settings, train_setting_fields()),
                decided.compute_choice, keys_of(request, decided.settings, weights)};
    if (!request.alphas_cumprod) return out;
    // Beside a schedule of the wires what was found for the weights' own does not act.
    for (const char* name : {"zero_snr", "beta_schedule", "beta_start", "beta_end"}) {
        if (!asked.contains(name)) out.named.erase(name);
    }
    return out;
}

bool is_readable(const fs::path& token) {
    try {
        read_token(token);
        return true;
    } catch (const Error&) {
        return false;  // it is trained anew
    }
}

bool leads_to(const SavedRun& saved, const TrainSettings& settings, const fs::path& file) {
    try {
        require_reachable(saved, settings, file);
        return true;
    } catch (const Error&) {
        return false;
    }
}

Begun look_up(const Jobs& jobs, const Decided& decided) {
    const std::string& key = decided.keys.key;
    if (const auto kept = jobs.kept(key)) {
        const fs::path token = jobs.token_in(key);
        if (kept->state == JobState::finished) {
            if (is_readable(token)) return {Begun::Kind::finished, *kept, kept->progress.step};
        } else if (const auto saved = saved_run(token); saved && is_file(token)) {
            return {Begun::Kind::goes_on, *kept, saved->state.step};
        }
    }
    Begun longest;
    for (const Job& job : jobs.of_lineage(decided.keys.lineage)) {
        const fs::path token = jobs.token_in(job.id);
        const auto saved = job.id == key || !is_file(token) ? std::nullopt : saved_run(token);
        if (!saved || !leads_to(*saved, decided.settings, token)) continue;
        if (longest.kind == Begun::Kind::nothing || saved->state.step > longest.step) {
            longest = {Begun::Kind::goes_on, job, saved->state.step};
        }
    }
    return longest;
}

// Method auto takes what was begun under either method before, whatever memory is free now; else
// the engine chooses, once the host has freed what the exact gradient might need.
Decided resolve(const Jobs& jobs, const GraphRequest& request, const std::string& weights,
                GraphHost& host) {
    const nlohmann::json& asked = request.settings;
    if (asked.value("method", nlohmann::json()) != "auto") return decide(request, asked, weights);
    nlohmann::json with_method = asked;
    for (const char* method : candidates) {
        with_method["method"] = method;
        const Decided decided = decide(request, with_method, weights);
        if (look_up(jobs, decided).kind != Begun::Kind::nothing) return decided;
    }
    with_method["method"] = candidates[0];
    const WeightSource& source = *request.source;
    const auto exact = resolve_settings(with_method, detect_architecture(source));
    host.free_memory(estimate_memory(source, take_inventory(source), exact).peak());
    Decided chosen = decide(request, asked, weights);
    log_info("method auto takes ", name_of(method_names(), chosen.settings.method));
    return chosen;
}

// Puts what one training kept beside the token of another; the state comes last, as without it the
// rest is nothing.
void copy_kept(const fs::path& from, const fs::path& to) {
    try {
        fs::copy_file(from, to, fs::copy_options::overwrite_existing);
        copy_state(from, to);
    } catch (const std::exception& error) {
        std::error_code ignored;
        for (const fs::path& file : {state_path(to), best_path(to), to}) fs::remove(file, ignored);
        throw StorageError(concat("Could not copy an earlier training into ",
                                  to.parent_path().string(), ": ", error.what(),
                                  ". Free disk space or make the folder writable, and try again."));
    }
}

// A run of the engine told to the job, with the host's previews and its progress bar.
class GraphBridge : public RunBridge {
  public:
    GraphBridge(GraphJob& job, GraphHost& host) : RunBridge(job), job_(job), host_(host) {}

    void on_step(std::int64_t step, std::int64_t steps, double loss, double smooth_loss) override {
        RunBridge::on_step(step, steps, loss, smooth_loss);
        const auto now = std::chrono::steady_clock::now();
        if (step < steps && now - moved_ < bar_every) return;
        moved_ = now;
        host_.on_step(step, steps);
    }
    void on_forecast(double seconds, std::int64_t steps_left) override {
        log_info("'", job_.job().request.word, "': ", steps_left, " steps at ",
                 format_step_time(seconds), ": about ",
                 format_duration(seconds * static_cast<double>(steps_left)));
    }
    double preview_share() const override { return host_.preview_share(); }
    void on_preview(std::int64_t step, const at::Tensor& latents) override {
        const std::string jpeg = host_.draw(step, latents);
        if (!jpeg.empty()) job_.preview(step, jpeg);
    }

  private:
    GraphJob& job_;
    GraphHost& host_;
    std::chrono::steady_clock::time_point moved_{};
};

void wait_for_turn(const Jobs& jobs, GraphJob& job) {
    bool told = false;
    while (!job.wait(look_every)) {
        job.cancel_token().check();
        // The thread that gives turns may take its time with one that is free.
        if (!told && jobs.position(job.job().id)) {
            job.on_stage("waiting for another training");
            told = true;
        }
    }
    job.cancel_token().check();
}

PersonalizeResult train(GraphJob& job, GraphRequest request, const TrainSettings& settings,
                        bool resume, GraphHost& host) {
    const WeightSource& source = *request.source;
    // First: it names weights that cannot be trained on.
    const auto needed = estimate_memory(source, take_inventory(source), settings).peak();
    job.on_stage("asking the wired model for the self-check");
    request.check = host.expected();
    host.free_memory(needed);
    host.park();
    request.output.of_graph = true;
    request.output.resume = resume;
    request.output.overwrite = true;
    GraphBridge bridge(job, host);
    return with_plain_errors([&] { return personalize(request, bridge, job.cancel_token()); });
}

// What is to be said of a finished run.
std::string ending(const PersonalizeResult& result, std::int64_t steps) {
    std::string said;
    if (result.steps < steps) {
        said = concat("Ended early at step ", result.steps, ": validation found nothing better.");
    }
    if (result.word_step != result.steps) {
        said += concat(said.empty() ? "" : " ", "The word that comes out is that of step ",
                       result.word_step, ", which had the lowest validation loss.");
    } else if (!result.best.empty() && result.best_step < result.steps) {
        said +=
            concat(said.empty() ? "" : " ", "The word of step ", result.best_step,
                   " had the lowest validation loss; it is kept in ", result.best.string(), ".");
    }
    return said;
}

// The job of a training that was interrupted, by its graph or by a script.
void end_interrupted(GraphJob& job, const fs::path& token) {
    const JobState state =
        job.stop_request() == StopRequest::cancel ? JobState::cancelled : JobState::interrupted;
    if (!is_file(state_path(token))) {
        return job.end(state, "Interrupted before the first step; nothing was learned.");
    }
    job.end(state, concat("Interrupted; the word as of step ", job.job().progress.step,
                          " is kept in ", token.string(), "; queued again, it goes on."));
}

std::vector<double> losses_of(const Curve& curve) {
    std::vector<double> losses;
    for (const CurvePoint& point : curve.steps()) {
        if (std::isfinite(point.loss)) losses.push_back(point.loss);
    }
    return losses;
}

GraphLearned learn_here(Jobs& jobs, GraphJob& job, GraphRequest& request, const Decided& decided,
                        GraphHost& host) {
    const Begun begun = look_up(jobs, decided);
    const std::string key = decided.keys.key;
    const fs::path token = jobs.token_in(key);
    if (begun.kind == Begun::Kind::finished) {
        job.reuse();
        return {token, losses_of(jobs.curve(key)), begun.step, true};
    }
    const bool resume = begun.kind == Begun::Kind::goes_on;
    if (resume && begun.job.id != key) {
        copy_kept(jobs.token_in(begun.job.id), token);
        log_info("going on from step ", begun.step, " of an earlier training");
    }
    job.start(begun.step, resume ? &begun.job : nullptr);
    wait_for_turn(jobs, job);
    request.output.token = token;
    const PersonalizeResult result = train(job, request, decided.settings, resume, host);
    if (!result.finished && job.stop_request() != StopRequest::stop) throw Cancelled();
    if (!result.best.empty()) job.best_is(result.best_step);
    const std::vector<double> losses = losses_of(jobs.curve(key));
    if (result.finished) {
        job.end(JobState::finished, ending(result, decided.settings.steps), true);
    } else {
        job.end(JobState::stopped,
                concat("Stopped and kept at step ", result.steps, "; queued again, it goes on."),
                true);
    }
    return {token, losses, result.steps, result.finished};
}

}  // namespace

GraphLearned learn(Jobs& jobs, GraphJob& job, GraphRequest request, const std::string& weights,
                   GraphHost& host) {
    fs::path token;
    try {
        const Decided decided = resolve(jobs, request, weights, host);
        request.settings = decided.named;
        if (request.compute_choice.empty()) request.compute_choice = decided.compute_choice;
        job.name({decided.keys.key,
                  decided.keys.lineage,
                  decided.settings.device,
                  {fs::path(request.source->description()).filename().string(), "", request.word,
                   request.initialiser, decided.named},
                  decided.settings.steps,
                  100 * host.preview_share()});
        token = jobs.token_in(decided.keys.key);
        return learn_here(jobs, job, request, decided, host);
    } catch (const Cancelled&) {
        end_interrupted(job, token);
        throw;
    } catch (const std::exception& error) {
        job.end(JobState::failed, plain_message(error), /*keeps_token=*/true);
        throw;
    }
}

}  // namespace zoodip
