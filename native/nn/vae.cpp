#include "nn/vae.h"

#include "nn/autoencoder_kl.h"
#include "nn/taesd.h"

namespace zoodip {
namespace {

template <class Kl, class Taesd, class Base>
std::unique_ptr<Base> load(const WeightSource& source, const Architecture& architecture,
                           const LoadOptions& options) {
    const Loader loader(source, options, Part::vae);
    const double scale = architecture.latent_scale, shift = architecture.latent_shift;
    if (architecture.vae == VaeKind::kl) return std::make_unique<Kl>(loader, scale, shift);
    return std::make_unique<Taesd>(loader, scale, shift);
}

}  // namespace

std::unique_ptr<LatentEncoder> load_latent_encoder(const WeightSource& source,
                                                   const Architecture& architecture,
                                                   const LoadOptions& options) {
    return load<KlEncoder, TaesdEncoder, LatentEncoder>(source, architecture, options);
}

std::unique_ptr<LatentDecoder> load_latent_decoder(const WeightSource& source,
                                                   const Architecture& architecture,
                                                   const LoadOptions& options) {
    return load<KlDecoder, TaesdDecoder, LatentDecoder>(source, architecture, options);
}

}  // namespace zoodip
