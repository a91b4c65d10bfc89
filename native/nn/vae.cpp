#include "nn/vae.h"

#include <utility>

#include "nn/autoencoder_kl.h"
#include "nn/taesd.h"

namespace zoodip {
namespace {

// Latents are made once and pictures rarely: both always compute in float32.
Loader float32_loader(const WeightSource& source, LoadOptions options) {
    options.compute = ComputeType::float32;
    return {source, std::move(options)};
}

template <class Kl, class Taesd, class Base>
std::unique_ptr<Base> load(const WeightSource& source, const Architecture& architecture,
                           LoadOptions options) {
    const Loader loader = float32_loader(source, std::move(options));
    const double scale = architecture.latent_scale, shift = architecture.latent_shift;
    if (architecture.vae == VaeKind::kl) return std::make_unique<Kl>(loader, scale, shift);
    return std::make_unique<Taesd>(loader, scale, shift);
}

}  // namespace

std::unique_ptr<LatentEncoder> load_latent_encoder(const WeightSource& source,
                                                   const Architecture& architecture,
                                                   LoadOptions options) {
    return load<KlEncoder, TaesdEncoder, LatentEncoder>(source, architecture, std::move(options));
}

std::unique_ptr<LatentDecoder> load_latent_decoder(const WeightSource& source,
                                                   const Architecture& architecture,
                                                   LoadOptions options) {
    return load<KlDecoder, TaesdDecoder, LatentDecoder>(source, architecture, std::move(options));
}

}  // namespace zoodip
