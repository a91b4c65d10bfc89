// Which tensors a model consists of, made from its structure. Blocks are counted by the highest
// number in the names, so that a hole shows, and widths are what most of the tensors say.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nn/family.h"
#include "nn/weight_source.h"

namespace zoodip {

struct ExpectedTensor {
    std::string name;
    // -1 stands for any size. Two dimensions are also those of a 1x1 convolution.
    std::vector<std::int64_t> shape;
};
using Manifest = std::vector<ExpectedTensor>;

// Each throws Error where the names make up no structure of its kind. Reads names and shapes alone.
Manifest unet_manifest(const WeightSource& weights, const Architecture& architecture);
Manifest text_encoder_manifest(const WeightSource& weights, const Architecture& architecture);
// Without a single tensor of that half: empty.
Manifest latent_encoder_manifest(const WeightSource& weights, const Architecture& architecture);
Manifest latent_decoder_manifest(const WeightSource& weights, const Architecture& architecture);

// The halves of the autoencoder that a job reads. A half that it does not read may be absent as a
// whole.
struct Halves {
    bool encoder = false;
    bool decoder = false;
};

// Throws Error that lists the tensors that are missing or have a shape that does not fit the
// others: five of them and a count.
void require_whole(const WeightSource& weights, const Architecture& architecture, Halves needed);

// The tensors under the model's own prefixes that nothing reads, but for those that are known to be
// of no consequence (position_ids, a projection of pooled text, losses of the training).
std::vector<std::string> unread_tensors(const WeightSource& weights,
                                        const Architecture& architecture);

// Logs a warning that names them, five and a count, if there are any.
void warn_of_unread(const WeightSource& weights, const Architecture& architecture);

}  // namespace zoodip
