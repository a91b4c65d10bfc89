// What a job is done by: the edges plug the engine in here, tests something quicker.
#pragma once

#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "core/cancel.h"

namespace zoodip {

// A word beside that of a job.
struct JobWord {
    std::string word, init;
    std::filesystem::path token;  // where it goes
};

// A job's request with the files that its names stand for.
struct JobTask {
    std::filesystem::path model;   // a checkpoint or a diffusers folder
    std::filesystem::path images;  // a folder
    std::string word, init;
    nlohmann::json settings;         // what differs from the defaults
    std::filesystem::path token;     // where it goes, .safetensors
    std::filesystem::path previews;  // folder
    std::vector<JobWord> also = {};  // further words in the captions
};

struct TrainingResult {
    bool finished = true;  // false: stopped before its end, with word and state kept
    std::int64_t steps = 0;
};

// Called from the thread that trains.
class TrainingObserver {
  public:
    virtual ~TrainingObserver() = default;
    virtual void on_stage(const std::string& stage) = 0;
    // What was read of the pictures and what was left out, in one line.
    virtual void on_note(const std::string&) {}
    // Before the first step of this process: where it begins, and how many steps there are.
    virtual void on_start(std::int64_t step, std::int64_t steps) = 0;
    // What products are made in, and why where that was chosen for it.
    virtual void on_compute(const std::string& /*compute*/, const std::string& /*choice*/) {}
    // From one step: how long each takes, and all that is left.
    virtual void on_forecast(double /*seconds_a_step*/, double /*seconds_left*/) {}
    // passes: of the UNet, made by all steps so far.
    virtual void on_passes(std::int64_t /*passes*/) {}
    virtual void on_step(std::int64_t step, std::int64_t steps, double loss,
                         double smooth_loss) = 0;
    // The loss of the fixed samples; best: no word before had so low a one.
    virtual void on_validation(std::int64_t /*step*/, double /*loss*/, bool /*best*/) {}
    virtual void on_preview(std::int64_t step) = 0;
};

// One of several trainings that are done together.
struct SharedTraining {
    JobTask training;
    TrainingObserver* observer;
    CancelToken cancel;  // of this one
    // Called once, from the thread that trains, when it has ended: `failure` is what run() would
    // have thrown, or null.
    std::function<void(const TrainingResult& result, const std::exception_ptr& failure)> on_end;
};

class Runner {
  public:
    virtual ~Runner() = default;

    // The settings' declarations, as describe_fields gives them.
    virtual nlohmann::json settings() const = 0;
    // On which device a training of these settings runs.
    virtual std::string device(const nlohmann::json& settings) const = 0;
    // Throws Error for what can be refused without reading weights, also of what was carried over.
    // From any thread.
    virtual void check(const JobTask& training) const = 0;
    // Trains, going on from what an earlier call left beside `token`; a training that was finished
    // is not done again. When `cancel` is set, returns with finished = false, or throws Cancelled
    // when nothing was learned. Throws Error otherwise.
    virtual TrainingResult run(const JobTask& training, TrainingObserver& observer,
                               const CancelToken& cancel) = 0;
    // The same for trainings of one model and equal settings, over one copy of its weights. What
    // refuses them together is thrown, and none ends then; else each ends by itself.
    virtual void check_together(const std::vector<JobTask>& trainings) const {
        for (const JobTask& training : trainings) check(training);
    }
    virtual void run_together(const std::vector<SharedTraining>& trainings) = 0;
    // Puts what an ended training left beside `token` to go on from beside another token, so that
    // `run` of that one goes on there. Says whether there was anything. Throws Error.
    virtual bool carry_over(const std::filesystem::path& token,
                            const std::filesystem::path& to) const = 0;
};

}  // namespace zoodip
