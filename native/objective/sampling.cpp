#include "objective/sampling.h"

#include <utility>

#include <ATen/TensorOperators.h>

#include "core/error.h"
#include "core/random.h"
#include "objective/normal_draw.h"

namespace zoodip {
Sampling::Sampling(const std::vector<LatentPicture>& latents, TimestepPlan plan, double flip,
                   std::uint64_t seed)
    : latents_(latents), plan_(std::move(plan)), flip_(flip), seed_(seed) {
    require(!latents.empty(), "sampling: needs at least one picture");
    for (std::size_t i = 0; i < latents.size(); ++i) {
        lots_.insert(lots_.end(), static_cast<std::size_t>(latents[i].repeats),
                     static_cast<std::int64_t>(i));
    }
}

Sample Sampling::draw(std::uint64_t index) const {
    const std::uint64_t count = lots_.size();
    const std::int64_t lot = shuffled(seed_, Stream::picture, index / count,
                                      static_cast<std::int64_t>(count), index % count);
    Sample sample;
    sample.picture = lots_[static_cast<std::size_t>(lot)];
    const LatentPicture& latent = latents_[static_cast<std::size_t>(sample.picture)];
    sample.caption = RandomBlock(seed_, Stream::caption, index).integer(0, latent.captions);
    sample.mirrored = RandomBlock(seed_, Stream::flip, index).uniform(0) < flip_;
    sample.timestep = plan_.draw(seed_, index);
    const Moments& moments = latent.moments[sample.mirrored ? 1 : 0];
    const at::Tensor noise = draw_normal(moments.mean.sizes(), seed_, Stream::latent, index);
    sample.z = moments.mean + moments.deviation * noise.to(moments.mean.device());
    sample.eps = draw_normal(moments.mean.sizes(), seed_, Stream::noise, index);
    return sample;
}

}  // namespace zoodip
