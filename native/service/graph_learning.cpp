#include "service/graph_learning.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <map>
#include <memory>
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

std::map<std::string, std::string> further_words(const GraphRequest& request) {
    std::map<std::string, std::string> words;
    for (const StartedWord& other : request.also) words[other.word] = other.initialiser;
    return words;
}

// Of each further word, in their order.
std::vector<fs::path> further_tokens(const GraphRequest& request, const fs::path& token) {
    std::vector<fs::path> tokens;
    for (const StartedWord& other : request.also) {
        tokens.push_back(JobFolders::token_in(token.parent_path(), other.word));
    }
    return tokens;
}

bool are_readable(const fs::path& token, const GraphRequest& request) {
    try {
        read_token(token);
        for (const fs::path& other : further_tokens(request, token)) read_token(other);
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

Begun look_up(const Jobs& jobs, const GraphRequest& request, const Decided& decided) {
    const std::string& key = decided.keys.key;
    if (const auto kept = jobs.kept(key)) {
        const fs::path token = jobs.token_in(key);
        if (kept->state == JobState::finished) {
            if (are_readable(token, request))
                return {Begun::Kind::finished, *kept, kept->progress.step};
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
        if (look_up(jobs, request, decided).kind != Begun::Kind::nothing) return decided;
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

// One of the words that are learned at once, most often the only one.
struct Learner {
    GraphJob& job;
    GraphRequest request;
    Decided decided = {};
    fs::path token = {};
    bool resume = false;
    std::optional<GraphLearned> learned = {};
    std::exception_ptr failure = {};

    bool is_open() const { return !learned && !failure; }
};
using Learners = std::vector<Learner>;

// A wish to stop the first one is one for all of them, and so is what ends the prompt.
void pass_on_wishes(Jobs& jobs, const Learners& all) {
    const GraphJob& first = all.front().job;
    const bool ends = first.cancel_token().cancelled();
    const StopRequest wish = first.stop_request();  // which is there before the token is set
    for (std::size_t i = 1; i < all.size(); ++i) {
        GraphJob& job = all[i].job;
        if (!all[i].is_open() || job.stop_request() >= wish) {
            if (ends && wish == StopRequest::none) job.cancel_token().cancel();
            continue;
        }
        try {
            wish == StopRequest::stop ? jobs.stop(job.job().id) : jobs.cancel(job.job().id);
        } catch (const WrongState&) {
            // It has ended in this moment.
        }
    }
}

// A run of the engine told to its job; of several the first one's steps are shown by the host.
class GraphBridge : public RunBridge {
  public:
    GraphBridge(Jobs& jobs, const Learners& all, std::size_t own, GraphHost& host)
        : RunBridge(all[own].job),
          jobs_(jobs),
          all_(all),
          job_(all[own].job),
          host_(host),
          own_(own) {}

    void on_step(std::int64_t step, std::int64_t steps, double loss, double smooth_loss) override {
        RunBridge::on_step(step, steps, loss, smooth_loss);
        // Once all have taken what their passes gave.
        if (all_.size() > 1 && is_last_open()) pass_on_wishes(jobs_, all_);
        const auto now = std::chrono::steady_clock::now();
        if (own_ > 0 || (step < steps && now - moved_ < bar_every)) return;
        moved_ = now;
        ask_host([&] { host_.on_step(step, steps); });
    }
    void on_forecast(double seconds, std::int64_t steps_left) override {
        log_info("'", job_.job().request.word, "': ", steps_left, " steps at ",
                 format_step_time(seconds), ": about ",
                 format_duration(seconds * static_cast<double>(steps_left)));
    }
    double preview_share() const override { return own_ == 0 ? host_.preview_share() : 0; }
    void on_preview(std::int64_t step, const at::Tensor& latents) override {
        std::string jpeg;
        ask_host([&] { jpeg = host_.draw(step, latents); });
        if (!jpeg.empty()) job_.preview(step, jpeg);
    }

  private:
    bool is_last_open() const {
        for (std::size_t i = own_ + 1; i < all_.size(); ++i) {
            if (all_[i].is_open()) return false;
        }
        return true;
    }
    // What the host throws ends the prompt, and all that is learned for it.
    template <class Work>
    void ask_host(Work&& work) {
        try {
            work();
        } catch (...) {
            for (const Learner& one : all_) one.job.cancel_token().cancel();
            throw;
        }
    }

    Jobs& jobs_;
    const Learners& all_;
    GraphJob& job_;
    GraphHost& host_;
    std::size_t own_;
    std::chrono::steady_clock::time_point moved_{};
};

void check_cancelled(Jobs& jobs, const Learners& all) {
    pass_on_wishes(jobs, all);
    for (const Learner& one : all) {
        if (one.is_open()) one.job.cancel_token().check();
    }
}

void wait_for_turn(Jobs& jobs, const Learners& all) {
    for (const Learner& one : all) {
        if (!one.is_open()) continue;
        bool told = false;
        while (!one.job.wait(look_every)) {
            check_cancelled(jobs, all);
            // The thread that gives turns may take its time with one that is free.
            if (!told && jobs.position(one.job.job().id)) {
                one.job.on_stage("waiting for another training");
                told = true;
            }
        }
    }
    check_cancelled(jobs, all);
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

// What `work` throws is how this one ends.
template <class Work>
void settle(Learner& one, Work&& work) {
    try {
        work();
    } catch (const Cancelled&) {
        one.failure = std::current_exception();
        end_interrupted(one.job, one.token);
    } catch (const std::exception& error) {
        one.failure = std::current_exception();
        one.job.end(JobState::failed, plain_message(error), /*keeps_token=*/true);
    }
}

std::vector<double> losses_of(const Curve& curve) {
    std::vector<double> losses;
    for (const CurvePoint& point : curve.steps()) {
        if (std::isfinite(point.loss)) losses.push_back(point.loss);
    }
    return losses;
}

void take_result(const Jobs& jobs, Learner& one, const PersonalizeResult& result) {
    GraphJob& job = one.job;
    if (!result.finished && job.stop_request() != StopRequest::stop) throw Cancelled();
    if (!result.best.empty()) job.best_is(result.best_step);
    const std::vector<double> losses = losses_of(jobs.curve(one.decided.keys.key));
    if (result.finished) {
        job.end(JobState::finished, ending(result, one.decided.settings.steps), true);
    } else {
        job.end(JobState::stopped,
                concat("Stopped and kept at step ", result.steps, "; queued again, it goes on."),
                true);
    }
    one.learned = {one.token, further_tokens(one.request, one.token), losses, result.steps,
                   result.finished};
}

// Decides it and gives its job its name.
void name(Jobs& jobs, Learner& one, const std::string& group, const std::string& weights,
          GraphHost& host) {
    one.decided = resolve(jobs, one.request, weights, host);
    const Decided& decided = one.decided;
    GraphRequest& request = one.request;
    request.settings = decided.named;
    if (request.compute_choice.empty()) request.compute_choice = decided.compute_choice;
    one.job.name({decided.keys.key,
                  decided.keys.lineage,
                  decided.settings.device,
                  {fs::path(request.source->description()).filename().string(), "", request.word,
                   request.initialiser, decided.named, further_words(request)},
                  decided.settings.steps,
                  100 * host.preview_share(),
                  group});
    one.token = jobs.token_in(decided.keys.key);
}

// Finds it learned, or makes its job ready to wait.
void find_or_prepare(const Jobs& jobs, Learner& one) {
    const Begun begun = look_up(jobs, one.request, one.decided);
    const std::string& key = one.decided.keys.key;
    if (begun.kind == Begun::Kind::finished) {
        one.job.reuse();
        one.learned = {one.token, further_tokens(one.request, one.token),
                       losses_of(jobs.curve(key)), begun.step, true};
        return;
    }
    one.resume = begun.kind == Begun::Kind::goes_on;
    if (one.resume && begun.job.id != key) {
        copy_kept(jobs.token_in(begun.job.id), one.token);
        log_info("going on from step ", begun.step, " of an earlier training");
    }
    one.job.prepare(begun.step, one.resume ? &begun.job : nullptr);
}

void train(Jobs& jobs, Learners& all, GraphHost& host) {
    Learner& first = *std::find_if(all.begin(), all.end(), [](auto& one) { return one.is_open(); });
    const WeightSource& source = *first.request.source;
    const auto runs =
        std::count_if(all.begin(), all.end(), [](auto& one) { return one.is_open(); });
    // First: it names weights that cannot be trained on.
    const auto needed =
        estimate_memory(source, take_inventory(source), first.decided.settings, runs).peak();
    for (const Learner& one : all) {
        if (one.is_open()) one.job.on_stage("asking the wired model for the self-check");
    }
    const SelfCheck check = host.expected();
    host.free_memory(needed);
    host.park();
    std::vector<std::unique_ptr<GraphBridge>> bridges;
    std::vector<Subject<GraphRequest>> subjects;
    for (std::size_t i = 0; i < all.size(); ++i) {
        Learner& one = all[i];
        if (!one.is_open()) continue;
        bridges.push_back(std::make_unique<GraphBridge>(jobs, all, i, host));
        GraphRequest request = one.request;
        request.check = check;
        request.output.token = one.token;
        request.output.also = further_tokens(request, one.token);
        request.output.of_graph = true;
        request.output.resume = one.resume;
        request.output.overwrite = true;
        subjects.push_back({std::move(request), bridges.back().get(), one.job.cancel_token(),
                            [&jobs, &one](const Ending& ended) {
                                settle(one, [&] {
                                    if (ended.failure) std::rethrow_exception(plain(ended.failure));
                                    take_result(jobs, one, *ended.result);
                                });
                            }});
    }
    with_plain_errors([&] { personalize(subjects); });
}

}  // namespace

std::vector<GraphLearned> learn(Jobs& jobs, std::vector<GraphSubject> subjects,
                                const std::string& weights, GraphHost& host) {
    Learners all;
    all.reserve(subjects.size());
    for (GraphSubject& subject : subjects) {
        all.push_back({*subject.job, std::move(subject.request)});
    }
    const std::string group = all.size() > 1 ? all.front().job.job().id : "";
    // What is thrown between them is the end of all that go on.
    const auto settle_open = [&](const auto& work) {
        try {
            work();
        } catch (...) {
            const std::exception_ptr thrown = std::current_exception();
            for (Learner& one : all) {
                if (one.is_open()) settle(one, [&] { std::rethrow_exception(thrown); });
            }
        }
    };
    settle_open([&] {
        std::vector<std::string> words;
        for (const Learner& one : all) {
            words.push_back(one.request.word);
            for (const StartedWord& other : one.request.also) words.push_back(other.word);
        }
        require_own_words(words);
        for (Learner& one : all) name(jobs, one, group, weights, host);
        std::vector<GraphJob*> waiting;
        for (Learner& one : all) {
            find_or_prepare(jobs, one);
            if (one.is_open()) waiting.push_back(&one.job);
        }
        if (waiting.empty()) return;
        GraphJob::queue(waiting);
        wait_for_turn(jobs, all);
        train(jobs, all, host);
    });
    std::vector<GraphLearned> learned;
    for (const Learner& one : all) {
        if (one.failure) std::rethrow_exception(one.failure);
        learned.push_back(*one.learned);
    }
    return learned;
}

}  // namespace zoodip
