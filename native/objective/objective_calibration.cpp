#include <map>
#include <set>

#include "objective/objective.h"

namespace zoodip {

void Objective::calibrate(const at::Tensor&, const std::vector<Sample>&) {}

namespace {

std::size_t bin_of(const Sample& sample) {
    return LayerActivation::bin_of(static_cast<double>(sample.timestep));
}

}  // namespace

// Ranges are widened by every sample. At the last samples of the lowest and of the highest range of
// timesteps it is seen what rounding to them does to each layer's product: between those inputs
// change little by little. One that does not come to its end leaves none.
void DiffusionObjective::calibrate(const at::Tensor& theta, const std::vector<Sample>& samples) {
    Activations* activations = this->activations();
    if (activations == nullptr) return;
    std::map<std::size_t, std::size_t> last;  // sample of each range
    for (std::size_t i = 0; i < samples.size(); ++i) last[bin_of(samples[i])] = i;
    std::set<std::size_t> compared;
    if (!last.empty()) compared = {last.begin()->second, last.rbegin()->second};
    try {
        for (std::size_t i = 0; i < samples.size(); ++i) {
            activations->set_calibration(compared.count(i) > 0 ? Calibration::compare
                                                               : Calibration::observe);
            losses(theta.unsqueeze(0), samples[i]);
        }
    } catch (...) {
        activations->set_calibration(Calibration::off);
        throw;
    }
    activations->settle();
}

}  // namespace zoodip
