#include "cli/subject_observer.h"

#include <algorithm>
#include <utility>

namespace zoodip {

std::unique_ptr<SubjectObserver> SubjectProgress::add() {
    subjects_.push_back(std::make_shared<State>());
    return std::unique_ptr<SubjectObserver>(new SubjectObserver(*this, subjects_.back()));
}

void SubjectProgress::on_stage(const std::string& stage) {
    if (stage == stage_) return;
    stage_ = stage;
    shown_.on_stage(stage);
}

void SubjectProgress::on_event(State& own, const nlohmann::json& event) {
    const std::string name = event["event"].get<std::string>();
    if (name == "start" && !std::exchange(started_, true)) shown_.on_event(event);
    if (name == "forecast" && !std::exchange(foretold_, true)) shown_.on_event(event);
    if (name == "step") shown_.on_event(event);
    if (name == "end" || name == "stop" || name == "failure") own.over = true;
}

// Once all that go on have made the step.
void SubjectProgress::on_step(State& own) {
    std::int64_t count = 0, least = own.step;
    double loss = 0, smooth_loss = 0;
    for (const auto& subject : subjects_) {
        if (subject->over) continue;
        ++count;
        least = std::min(least, subject->step);
        loss += subject->loss;
        smooth_loss += subject->smooth_loss;
    }
    if (least < own.step) return;
    const auto all = static_cast<double>(count);
    shown_.on_step(own.step, own.steps, loss / all, smooth_loss / all);
}

void SubjectObserver::on_stage(const std::string& stage) {
    all_.on_stage(stage);
}

void SubjectObserver::on_step(std::int64_t step, std::int64_t steps, double loss,
                              double smooth_loss) {
    own_->step = step;
    own_->steps = steps;
    own_->loss = loss;
    own_->smooth_loss = smooth_loss;
    all_.on_step(*own_);
}

void SubjectObserver::on_event(const nlohmann::json& event) {
    all_.on_event(*own_, event);
}

}  // namespace zoodip
