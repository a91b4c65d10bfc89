#include "train/joint_runs.h"

#include <algorithm>
#include <functional>
#include <span>
#include <utility>

#include "core/clock.h"
#include "core/error.h"

namespace zoodip {
namespace {

// One of the runs, and how it has ended.
class Member {
  public:
    explicit Member(const JointRun& own) : own_(own) {}

    bool goes_on() const { return !ending_.result && !ending_.failure; }
    const Ending& ending() const { return ending_; }

    void begin() {
        try {
            own_.run->begin();
        } catch (...) {
            end({std::nullopt, std::current_exception()});
        }
        alone([](Run& run) { run.prepare(); });
    }

    // Where the passes of its next step are to be made.
    void ask() {
        alone([this](Run& run) {
            run.before_passes();
            points_ = own_.trainer->points();
        });
    }
    DiffusionObjective::Asked asked(std::size_t sample) const {
        return {own_.objective, points_.thetas, &points_.samples.at(sample)};
    }

    void take(const std::vector<at::Tensor>& losses, double seconds, std::size_t runs) {
        alone([&](Run& run) {
            run.take(own_.trainer->evaluation(points_, mean_in_order(losses)), seconds, runs);
        });
    }
    void take(const std::vector<LossGradient>& gradients, double seconds, std::size_t runs) {
        alone([&](Run& run) {
            run.take(own_.trainer->evaluation(mean_in_order(gradients)), seconds, runs);
        });
    }

    // Called while an exception is handled.
    void break_off() {
        if (!goes_on()) return;
        try {
            end({own_.run->break_off(), nullptr});
        } catch (...) {
            end({std::nullopt, std::current_exception()});
        }
    }

    const Trainer& trainer() const { return *own_.trainer; }
    std::size_t batch() const { return points_.samples.size(); }

  private:
    // What it does by itself; what that throws ends this run and no other.
    void alone(const std::function<void(Run&)>& work) {
        if (!goes_on()) return;
        own_.objective->activations();  // previews and validations with its own scales
        try {
            work(*own_.run);
            if (own_.run->goes_on()) return;
            end({own_.run->finish(), nullptr});
        } catch (...) {
            break_off();
        }
    }

    void end(Ending ending) {
        ending_ = std::move(ending);
        own_.on_end(ending_);
    }

    JointRun own_;
    StepPoints points_;
    Ending ending_;
};

using Members = std::vector<Member*>;
// What `pass` gives for what some members ask: one for each.
template <class Found>
using Pass = std::function<std::vector<Found>(const std::vector<DiffusionObjective::Asked>&)>;

// One step of all members. Of each, `pass` is made for every sample of its batch.
template <class Found>
void step_with(const Members& members, std::size_t together, const Pass<Found>& pass) {
    const double start = seconds_now();
    std::vector<std::vector<Found>> found(members.size());  // by member, then sample
    for (std::size_t first = 0; first < members.size(); first += together) {
        const std::size_t count = std::min(together, members.size() - first);
        const std::span<Member* const> group(&members[first], count);
        for (std::size_t sample = 0; sample < group.front()->batch(); ++sample) {
            std::vector<DiffusionObjective::Asked> asked;
            for (const Member* member : group) asked.push_back(member->asked(sample));
            std::vector<Found> of_sample = pass(asked);
            for (std::size_t i = 0; i < count; ++i) {
                found[first + i].push_back(std::move(of_sample[i]));
            }
        }
    }
    const double seconds = seconds_now() - start;
    for (std::size_t i = 0; i < members.size(); ++i) {
        members[i]->take(found[i], seconds, members.size());
    }
}

void step(const Members& members, std::size_t together) {
    const Trainer& first = members.front()->trainer();
    if (first.is_exact()) {
        step_with<LossGradient>(members, together, &DiffusionObjective::gradients_together);
        return;
    }
    step_with<at::Tensor>(members, together, [form = first.form()](const auto& asked) {
        return DiffusionObjective::losses_together(asked, form);
    });
}

}  // namespace

std::vector<Ending> execute_jointly(const std::vector<JointRun>& runs, std::size_t together) {
    require(together >= 1, "joint runs: at least one run takes part in a pass");
    std::vector<Member> members(runs.begin(), runs.end());
    for (Member& member : members) member.begin();
    for (;;) {
        Members going;
        for (Member& member : members) {
            member.ask();
            if (member.goes_on()) going.push_back(&member);
        }
        if (going.empty()) break;
        try {
            step(going, together);
        } catch (...) {
            for (Member* member : going) member->break_off();
        }
    }
    std::vector<Ending> endings;
    for (const Member& member : members) endings.push_back(member.ending());
    return endings;
}

}  // namespace zoodip
