// The engine as what jobs are done by.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "jobs/runner.h"

namespace zoodip {

class TrainRunner : public Runner {
  public:
    // defaults: settings for what a job does not say.
    explicit TrainRunner(nlohmann::json defaults = nlohmann::json::object())
        : defaults_(std::move(defaults)) {}

    nlohmann::json settings() const override;
    std::string device(const nlohmann::json& settings) const override;
    void check(const JobTask& training) const override;
    TrainingResult run(const JobTask& training, TrainingObserver& observer,
                       const CancelToken& cancel) override;
    void check_together(const std::vector<JobTask>& trainings) const override;
    void run_together(const std::vector<SharedTraining>& trainings) override;
    bool carry_over(const std::filesystem::path& token,
                    const std::filesystem::path& to) const override;

  private:
    nlohmann::json with_defaults(const nlohmann::json& settings) const;

    nlohmann::json defaults_;
};

}  // namespace zoodip
