#include "objective/normal_draw.h"

#include <ATen/ops/empty.h>

namespace zoodip {

at::Tensor draw_normal(at::IntArrayRef sizes, std::uint64_t seed, Stream stream,
                       std::uint64_t index) {
    at::Tensor out = at::empty(sizes, at::kFloat);
    RandomBlock(seed, stream, index)
        .fill_normal({out.mutable_data_ptr<float>(), static_cast<std::size_t>(out.numel())});
    return out;
}

}  // namespace zoodip
