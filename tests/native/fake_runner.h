// A runner whose trainings go as far as a test lets them. A job is told by its word.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <filesystem>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "eventually.h"
#include "temporary_folder.h"

#include "jobs/jobs.h"

namespace zoodip {

class FakeRunner : public Runner {
  public:
    // How a training goes: it learns these steps, waits for `let`, and ends.
    struct Plan {
        std::int64_t steps = 3;
        bool waits = true;
        bool deaf = false;  // to being cancelled, until it is let
        enum class End { finished, error, odd_error } end = End::finished;
        std::string message = "it broke";
    };
    struct Begun {
        std::string word, device;
        bool goes_on = false;  // from what an earlier call left
        JobTask training;
    };

    void plan(const std::string& word, const Plan& plan) {
        const std::lock_guard lock(mutex_);
        plans_[word] = plan;
    }
    // Where nothing else is planned.
    void plan_all(const Plan& every) { plan("", every); }

    // Lets a training come to its end.
    void let(const std::string& word) {
        const std::lock_guard lock(mutex_);
        let_.push_back(word);
        changed_.notify_all();
    }
    // Whether a training comes to the place where it waits.
    bool waits(const std::string& word) const { return wait_for(waiting_, word); }
    bool has_begun(const std::string& word) const {
        const std::lock_guard lock(mutex_);
        return contains(begun_words(), word);
    }
    std::vector<Begun> begun() const {
        const std::lock_guard lock(mutex_);
        return begun_;
    }
    std::vector<std::string> words() const {
        const std::lock_guard lock(mutex_);
        return begun_words();
    }
    // How many ran on one device at the same moment, at most.
    int most_at_once() const {
        const std::lock_guard lock(mutex_);
        return most_at_once_;
    }

    nlohmann::json settings() const override {
        return {{{"name", "steps"},
                 {"type", "integer"},
                 {"default", 3},
                 {"help", "How many."},
                 {"minimum", 1},
                 {"maximum", 100}},
                {{"name", "device"},
                 {"type", "string"},
                 {"default", "cpu"},
                 {"help", "Where."},
                 {"unit", "device"},
                 {"equation", "d"},
                 {"choices", {"cpu", "cuda"}}}};
    }
    std::string device(const nlohmann::json& settings) const override {
        return settings.value("device", "cpu");
    }
    void check(const JobTask& training) const override {
        if (training.word == "refused") fail("word: is refused, for ", training.token.string());
        if (training.word == "odd") throw std::runtime_error("odd");
    }
    TrainingResult run(const JobTask& training, TrainingObserver& observer,
                       const CancelToken& cancel) override {
        const Running running(*this, training);
        const Plan plan = plan_of(training.word);
        observer.on_stage("loading");
        observer.on_start(0, plan.steps);
        for (std::int64_t step = 1; step <= plan.steps; ++step) {
            observer.on_step(step, plan.steps, 0.5, 0.25);
        }
        if (plan.steps > 0) {
            write_text(training.token, "a token of " + training.word);
            write_text(state_of(training.token), "a state of " + training.word);
            write_text(training.previews / "000001.png", "a picture");
            observer.on_preview(1);
        }
        if (plan.waits && !wait_until_let(training.word, plan.deaf, cancel)) {
            if (plan.steps == 0) throw Cancelled();
            return {false, plan.steps};
        }
        if (plan.end == Plan::End::error) fail(plan.message);
        if (plan.end == Plan::End::odd_error) throw std::logic_error(plan.message);
        return {true, plan.steps};
    }

    // One after another, so that a test can tell what becomes of each while the others go on.
    void check_together(const std::vector<JobTask>& trainings) const override {
        for (const JobTask& training : trainings) {
            check(training);
            if (training.word == "apart") fail("word: 'apart' is for no group");
        }
    }
    void run_together(const std::vector<SharedTraining>& trainings) override {
        {
            const std::lock_guard lock(mutex_);
            groups_.emplace_back();
            for (const auto& one : trainings) groups_.back().push_back(one.training.word);
        }
        for (const SharedTraining& one : trainings) {
            if (one.training.word == "nobody") throw std::runtime_error("all of them broke");
            TrainingResult result{false, 0};
            std::exception_ptr failure;
            try {
                result = run(one.training, *one.observer, one.cancel);
            } catch (...) {
                failure = std::current_exception();
            }
            one.on_end(result, failure);
        }
    }
    // The words of each call of run_together.
    std::vector<std::vector<std::string>> groups() const {
        const std::lock_guard lock(mutex_);
        return groups_;
    }

    bool carry_over(const std::filesystem::path& token,
                    const std::filesystem::path& to) const override {
        return std::filesystem::exists(state_of(token)) &&
               std::filesystem::copy_file(state_of(token), state_of(to));
    }

  private:
    using Words = std::vector<std::string>;

    static std::filesystem::path state_of(std::filesystem::path token) {
        return token.replace_extension(".state.safetensors");
    }

    class Running {
      public:
        Running(FakeRunner& runner, const JobTask& training)
            : runner_(runner), device_(runner.device(training.settings)) {
            const bool goes_on = std::filesystem::exists(state_of(training.token));
            const std::lock_guard lock(runner_.mutex_);
            runner_.begun_.push_back({training.word, device_, goes_on, training});
            runner_.most_at_once_ = std::max(runner_.most_at_once_, ++runner_.running_[device_]);
            runner_.changed_.notify_all();
        }
        ~Running() {
            const std::lock_guard lock(runner_.mutex_);
            --runner_.running_[device_];
        }
        Running(const Running&) = delete;
        Running& operator=(const Running&) = delete;

      private:
        FakeRunner& runner_;
        std::string device_;
    };

    static bool contains(const Words& words, const std::string& word) {
        return std::find(words.begin(), words.end(), word) != words.end();
    }
    Words begun_words() const {
        Words words;
        for (const Begun& one : begun_) words.push_back(one.word);
        return words;
    }
    bool wait_for(const Words& words, const std::string& word) const {
        std::unique_lock lock(mutex_);
        return changed_.wait_for(lock, patience, [&] { return contains(words, word); });
    }
    Plan plan_of(const std::string& word) const {
        const std::lock_guard lock(mutex_);
        const auto found = plans_.find(word);
        if (found != plans_.end()) return found->second;
        const auto all = plans_.find("");
        return all == plans_.end() ? Plan{} : all->second;
    }
    // false once it is cancelled. The token wakes nobody, so it is looked at again and again, as a
    // training does.
    bool wait_until_let(const std::string& word, bool deaf, const CancelToken& cancel) {
        std::unique_lock lock(mutex_);
        waiting_.push_back(word);
        changed_.notify_all();
        while (!contains(let_, word)) {
            if (cancel.cancelled() && !deaf) return false;
            changed_.wait_for(lock, std::chrono::milliseconds(1));
        }
        return true;
    }

    mutable std::mutex mutex_;
    mutable std::condition_variable changed_;
    std::map<std::string, Plan> plans_;
    Words let_, waiting_;
    std::vector<Begun> begun_;
    std::vector<Words> groups_;
    std::map<std::string, int> running_;
    int most_at_once_ = 0;
};

// Waits until no event follows: the job has ended, or its process is ending.
inline bool is_told_to_its_end(const EventLog& log) {
    const auto deadline = std::chrono::steady_clock::now() + patience;
    while (!log.closed() && std::chrono::steady_clock::now() < deadline) {
        log.wait(log.last(), std::chrono::seconds(1));
    }
    return log.closed();
}

// A job once it has ended.
inline Job ended(const Jobs& jobs, const std::string& id) {
    require(is_told_to_its_end(*jobs.events(id)), "job ", id, " does not end");
    return *jobs.find(id);
}

inline JobRequest request_of(const std::string& word, const std::string& device = "cpu") {
    return {"model", "folder", word, "dog", {{"device", device}}};
}

inline JobTask files_of(const JobRequest& request) {
    return {"/models/model", request.images.empty() ? "" : "/images/folder", request.word,
            request.init, request.settings};
}

inline Job submit(Jobs& jobs, const std::string& word, const std::string& device = "cpu") {
    const JobRequest request = request_of(word, device);
    return jobs.submit(request, files_of(request), {});
}

inline std::vector<std::string> states_in(const EventLog& log) {
    std::vector<std::string> states;
    for (const JobEvent& event : log.read(0, 10'000)) {
        if (event.kind == "state") {
            states.push_back(nlohmann::json::parse(event.data)["state"].get<std::string>());
        }
    }
    return states;
}

}  // namespace zoodip
