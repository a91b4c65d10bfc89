#include <array>

#include "train/objective.h"

namespace zoodip {

void Objective::calibrate(const at::Tensor&, const std::vector<Sample>&) {}

namespace {

std::size_t bin_of(const Sample& sample) {
    return LayerActivation::bin_of(static_cast<double>(sample.timestep));
}

}  // namespace

// Ranges are widened by every sample; at the last one of each range of timesteps it is seen what
// rounding to them does to each layer's product. One that does not come to its end leaves none.
void DiffusionObjective::calibrate(const at::Tensor& theta, const std::vector<Sample>& samples) {
    Activations* activations = parts_.unet.activations();
    if (activations == nullptr) return;
    std::array<std::size_t, LayerActivation::bins> last{};
    for (std::size_t i = 0; i < samples.size(); ++i) last[bin_of(samples[i])] = i;
    try {
        for (std::size_t i = 0; i < samples.size(); ++i) {
            activations->set_calibration(last[bin_of(samples[i])] == i ? Calibration::compare
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
