#include "train/objective.h"

namespace zoodip {

void Objective::calibrate(const at::Tensor&, const std::vector<Sample>&) {}

// Twice over the samples: ranges first, then what rounding to them does to each layer's product.
// One that does not come to its end leaves none.
void DiffusionObjective::calibrate(const at::Tensor& theta, const std::vector<Sample>& samples) {
    Activations* activations = parts_.unet.activations();
    if (activations == nullptr) return;
    try {
        for (const Calibration pass : {Calibration::observe, Calibration::compare}) {
            activations->set_calibration(pass);
            for (const Sample& sample : samples) losses(theta.unsqueeze(0), sample);
        }
    } catch (...) {
        activations->set_calibration(Calibration::off);
        throw;
    }
    activations->settle();
}

}  // namespace zoodip
