// What several subjects of one run tell, as one progress.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "train/observer.h"

namespace zoodip {

class SubjectObserver;

// Shows many subjects as if they were one: what they say alike once, the step of the one that is
// least far, and the mean of their losses. The observer that shows it must outlive this.
class SubjectProgress {
  public:
    explicit SubjectProgress(PersonalizeObserver& shown) : shown_(shown) {}

    // For one of the subjects, all of which are added before any begins; must not outlive this.
    std::unique_ptr<SubjectObserver> add();

  private:
    friend class SubjectObserver;
    struct State {
        std::int64_t step = -1;  // -1: none was made yet
        std::int64_t steps = 0;
        double loss = 0, smooth_loss = 0;
        bool over = false;
    };

    void on_stage(const std::string& stage);
    void on_event(State& own, const nlohmann::json& event);
    void on_step(State& own);

    PersonalizeObserver& shown_;
    std::vector<std::shared_ptr<State>> subjects_;
    std::string stage_;
    bool started_ = false, foretold_ = false;
};

class SubjectObserver : public PersonalizeObserver {
  public:
    void on_stage(const std::string& stage) override;
    void on_step(std::int64_t step, std::int64_t steps, double loss, double smooth_loss) override;
    void on_event(const nlohmann::json& event) override;

  private:
    friend class SubjectProgress;
    SubjectObserver(SubjectProgress& all, std::shared_ptr<SubjectProgress::State> own)
        : all_(all), own_(std::move(own)) {}

    SubjectProgress& all_;
    std::shared_ptr<SubjectProgress::State> own_;
};

}  // namespace zoodip
