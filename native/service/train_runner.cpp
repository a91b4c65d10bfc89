#include "service/train_runner.h"

#include <memory>
#include <system_error>
#include <utility>

#include <ATen/core/grad_mode.h>
#include <c10/core/InferenceMode.h>

#include "service/run_bridge.h"

#include "core/error.h"
#include "settings/settings.h"
#include "train/personalize.h"
#include "train/run_files.h"

namespace zoodip {
namespace {

PersonalizeRequest request_of(const JobTask& training, nlohmann::json settings) {
    PersonalizeRequest request;
    request.model = training.model;
    request.images = training.images;
    request.word = training.word;
    request.initialiser = training.init;
    request.out = training.token;
    request.settings = std::move(settings);
    request.previews = training.previews;
    for (const JobWord& other : training.also) {
        request.also.push_back({other.word, other.init, other.token});
    }
    std::error_code ignored;
    request.resume = std::filesystem::exists(state_path(training.token), ignored);
    request.overwrite = !request.resume;
    return request;
}

}  // namespace

nlohmann::json TrainRunner::with_defaults(const nlohmann::json& settings) const {
    nlohmann::json all = defaults_;
    all.update(settings);
    return all;
}

nlohmann::json TrainRunner::settings() const {
    nlohmann::json declared = describe_fields(train_setting_fields());
    for (nlohmann::json& setting : declared) {
        const auto other = defaults_.find(setting["name"].get<std::string>());
        if (other != defaults_.end()) setting["default"] = *other;
    }
    return declared;
}

std::string TrainRunner::device(const nlohmann::json& settings) const {
    return resolve_settings(with_defaults(settings)).device;
}

void TrainRunner::check(const JobTask& training) const {
    with_plain_errors([&] {
        make_plan(request_of(training, with_defaults(training.settings)), CancelToken(),
                  /*fit=*/false);
    });
}

TrainingResult TrainRunner::run(const JobTask& training, TrainingObserver& observer,
                                const CancelToken& cancel) {
    const c10::InferenceMode inference(false);
    const at::NoGradGuard no_grad;
    return with_plain_errors([&]() -> TrainingResult {
        if (const auto step = finished_step(training.token)) return {true, *step};
        const PersonalizeRequest request = request_of(training, with_defaults(training.settings));
        RunBridge bridge(observer);
        const PersonalizeResult result = personalize(request, bridge, cancel);
        return {result.finished, result.steps};
    });
}

void TrainRunner::check_together(const std::vector<JobTask>& trainings) const {
    with_plain_errors([&] {
        PersonalizeObserver nobody;
        std::vector<Subject<PersonalizeRequest>> subjects;
        for (const JobTask& training : trainings) {
            subjects.push_back(
                {request_of(training, with_defaults(training.settings)), &nobody, {}});
        }
        require_apart(subjects);
        for (const auto& subject : subjects) {
            naming_subject(subject.request.word, subjects.size(),
                           [&] { make_plan(subject.request, CancelToken(), /*fit=*/false); });
        }
    });
}

void TrainRunner::run_together(const std::vector<SharedTraining>& trainings) {
    const c10::InferenceMode inference(false);
    const at::NoGradGuard no_grad;
    with_plain_errors([&] {
        std::vector<std::unique_ptr<RunBridge>> bridges;
        std::vector<Subject<PersonalizeRequest>> subjects;
        for (const SharedTraining& shared : trainings) {
            if (const auto step = finished_step(shared.training.token)) {
                shared.on_end({true, *step}, nullptr);
                continue;
            }
            bridges.push_back(std::make_unique<RunBridge>(*shared.observer));
            const auto on_end = [&shared](const Ending& ending) {
                TrainingResult result{false, 0};
                if (ending.result) result = {ending.result->finished, ending.result->steps};
                shared.on_end(result, plain(ending.failure));
            };
            subjects.push_back(
                {request_of(shared.training, with_defaults(shared.training.settings)),
                 bridges.back().get(), shared.cancel, on_end});
        }
        if (!subjects.empty()) personalize(subjects);
    });
}

bool TrainRunner::carry_over(const std::filesystem::path& token,
                             const std::filesystem::path& to) const {
    return copy_state(token, to);
}

}  // namespace zoodip
