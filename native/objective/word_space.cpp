#include "objective/word_space.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>

#include "core/error.h"
#include "nn/tokenizer.h"
#include "words/captions.h"

namespace zoodip {
namespace {

constexpr std::int64_t rows_at_once = 4096;  // of a vocabulary, in float32

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

// float32 [d]: of each number its encoder's norm beside that of the first.
at::Tensor scale_by_table(const TokenLayout& layout, const TextEncoders& text_encoders) {
    std::map<std::string, double> norms;
    for (const auto& encoder : text_encoders.all()) {
        norms[encoder->spec().key] = mean_row_norm(encoder->token_table().whole());
    }
    const double first = norms.at(text_encoders.all().front()->spec().key);
    require(first > 0, "mu_scale: the first text encoder's table is all zeros");
    std::vector<at::Tensor> parts;
    for (const TokenSlot& slot : layout.slots()) {
        parts.push_back(at::full({slot.vectors * slot.width},
                                 static_cast<float>(norms.at(slot.encoder) / first)));
    }
    return at::cat(parts);
}

DirectionSpace unscaled_space(const TrainSettings& settings, const SensitivityProbe& probe,
                              const at::Tensor& theta) {
    const TokenLayout& layout = probe.layout;
    const TextEncoders& text_encoders = probe.text_encoders;
    if (settings.directions == Directions::normal || settings.method == exact_gradient) {
        return DirectionSpace(layout.size());
    }
    if (settings.directions == Directions::sensitive) {
        return DirectionSpace::orthogonal(
            sensitive_directions(probe, theta, settings.direction_rank));
    }
    std::map<std::string, at::Tensor> bases;
    for (const auto& encoder : text_encoders.all()) {
        bases[encoder->spec().key] =
            settings.directions == Directions::principal
                ? principal_directions(encoder->token_table().whole(), settings.direction_rank)
                : span_basis(related_rows(settings.related_words, *encoder));
    }
    std::vector<DirectionBlock> blocks;
    for (const TokenSlot& slot : layout.slots()) {
        blocks.push_back({slot.vectors, bases.at(slot.encoder)});
    }
    return DirectionSpace(std::move(blocks));
}

}  // namespace

double mean_row_norm(const at::Tensor& table) {
    double sum = 0;
    for (std::int64_t begin = 0; begin < table.size(0); begin += rows_at_once) {
        const at::Tensor part = table.slice(0, begin, begin + rows_at_once).to(at::kFloat);
        sum += at::linalg_vector_norm(part, 2, {1}).sum(at::kDouble).item<double>();
    }
    return sum / static_cast<double>(std::max<std::int64_t>(table.size(0), 1));
}

double typical_number(const at::Tensor& table) {
    double sum = 0;
    std::int64_t count = 0;
    for (std::int64_t begin = 0; begin < table.size(0); begin += rows_at_once) {
        const at::Tensor part = table.slice(0, begin, begin + rows_at_once).to(at::kFloat);
        sum += part.square().sum(at::kDouble).item<double>();
        count += part.ne(0).any(1).sum().item<std::int64_t>();
    }
    const auto numbers = static_cast<double>(std::max<std::int64_t>(count * table.size(1), 1));
    return std::sqrt(sum / numbers);
}

DirectionSpace direction_space(const TrainSettings& settings, const SensitivityProbe& probe,
                               const at::Tensor& theta) {
    DirectionSpace space = unscaled_space(settings, probe, theta);
    if (settings.mu_scale == MuScale::table && settings.method != exact_gradient) {
        space.set_scale(scale_by_table(probe.layout, probe.text_encoders));
    }
    return space;
}

}  // namespace zoodip
