#include "train/word_space.h"

#include <map>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ops/stack.h>

#include "core/error.h"
#include "nn/tokenizer.h"
#include "train/captions.h"

namespace zoodip {
namespace {

at::Tensor related_rows(const std::string& words, const TextEncoder& text_encoder) {
    std::vector<at::Tensor> rows;
    try {
        for (const std::int64_t id : initialiser_ids(clip_tokenizer(), words)) {
            rows.push_back(text_encoder.token_vector(id).cpu());
        }
    } catch (const Error& error) {
        fail("related_words: ", error.what());
    }
    const at::Tensor all = at::stack(rows);
    require(all.any().item<bool>(), "related_words: the model has seen none of '", words,
            "': their embeddings are all zeros; take words that it knows");
    return all;
}

}  // namespace

DirectionSpace direction_space(const TrainSettings& settings, const TokenLayout& layout,
                               const TextEncoders& text_encoders) {
    if (settings.directions == "normal" || settings.method == "exact") {
        return DirectionSpace(layout.size());
    }
    std::map<std::string, at::Tensor> bases;
    for (const auto& encoder : text_encoders.all()) {
        bases[encoder->spec().key] =
            settings.directions == "principal"
                ? principal_directions(encoder->token_table().whole(), settings.direction_rank)
                : span_basis(related_rows(settings.related_words, *encoder));
    }
    std::vector<DirectionBlock> blocks;
    for (const TokenSlot& slot : layout.slots()) {
        blocks.push_back({slot.vectors, bases.at(slot.encoder)});
    }
    return DirectionSpace(std::move(blocks));
}

}  // namespace zoodip
