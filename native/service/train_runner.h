// The engine as what jobs are done by.
#pragma once

#include <cstdint>
#include <functional>

#include <nlohmann/json.hpp>

#include "jobs/runner.h"

namespace zoodip {

class TrainRunner : public Runner {
  public:
    // defaults: settings for what a job does not say. before: called with what a training is
    // expected to take, in bytes, and its device, before its weights are read.
    explicit TrainRunner(
        nlohmann::json defaults = nlohmann::json::object(),
        std::function<void(std::int64_t bytes, const std::string& device)> before = {})
        : defaults_(std::move(defaults)), before_(std::move(before)) {}

    nlohmann::json settings() const override;
    std::string device(const nlohmann::json& settings) const override;
    void check(const Training& training) const override;
    TrainingResult run(const Training& training, TrainingObserver& observer,
                       const CancelToken& cancel) override;

  private:
    nlohmann::json with_defaults(const nlohmann::json& settings) const;

    nlohmann::json defaults_;
    std::function<void(std::int64_t, const std::string&)> before_;
};

}  // namespace zoodip
