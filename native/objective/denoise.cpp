#include "objective/denoise.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>

namespace zoodip {

at::Tensor Denoiser::operator()(const at::Tensor& z_t, std::int64_t timestep,
                                const Conditioning& conditioning) const {
    const at::Tensor t = at::full({1}, static_cast<double>(timestep), z_t.options());
    at::Tensor output = unet.forward(z_t, t, conditioning);
    if (output.size(0) == 2) {
        output = (output[0] + guidance * (output[1] - output[0])).unsqueeze(0);
    }
    return schedule.denoised(z_t, output, timestep, prediction);
}

}  // namespace zoodip
