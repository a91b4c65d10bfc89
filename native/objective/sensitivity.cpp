#include "objective/sensitivity.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/linalg_svd.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include "core/error.h"
#include "core/log.h"
#include "nn/unet_work.h"
#include "objective/normal_draw.h"
#include "ops/gradient.h"

namespace zoodip {
namespace {

constexpr std::int64_t rows_at_once = 4;  // of the text encoders, with what goes into each block

// Of the weights of linear layers that read the same input, float64 [in, in].
at::Tensor gram(const Loader& loader, const std::vector<std::string>& layers) {
    at::Tensor sum;
    for (const std::string& layer : layers) {
        loader.options().cancel.check();
        const at::Tensor weight =
            loader.linear(layer).weight.dense(at::kFloat).to(at::kCPU).flatten(1);
        const at::Tensor one = at::matmul(weight.t(), weight).to(at::kDouble);
        sum = sum.defined() ? sum + one : one;
    }
    return sum;
}

// R with R R^T = a, float32, of a gram matrix: rows of w R^T, w ~ N(0, I), have the covariance a.
// Its smallest eigenvalues, which rounding may leave below zero where the UNet reads less than the
// text has, count as none.
at::Tensor root(const at::Tensor& a) {
    const auto [values, vectors] = at::linalg_eigh(a);
    require(values.gt(0).any().item<bool>(),
            "directions: the UNet reads nothing of a text: its keys and values are zero");
    return (vectors * values.clamp_min(0).sqrt()).to(at::kFloat);
}

// How the UNet reads what a text gives.
struct Reading {
    at::Tensor context;  // float32 [width, width], a root of M^T M
    at::Tensor pooled;   // the same of the vector conditioning; undefined without one
};

Reading reading_of(const SensitivityProbe& probe) {
    constexpr std::string_view of_weight = ".weight";
    std::vector<std::string> attended;
    for (const WeightInfo& info : probe.source.list()) {
        if (!sees_text(info.name)) continue;
        attended.push_back(info.name.substr(0, info.name.size() - of_weight.size()));
    }
    require(!attended.empty(), "directions: sensitive ones need a UNet that attends to a text");
    LoadOptions load = probe.load;
    load.weights = WeightType::dense;
    load.compute = ComputeType::float32;
    load.activations = nullptr;
    load.fingerprint = nullptr;  // the run's identity is of what it learns from
    const Loader loader(probe.source, load, Part::unet);
    const std::string pooled = "model.diffusion_model.label_emb.0.0";
    return {root(gram(loader, attended)),
            loader.has(pooled + ".weight") ? root(gram(loader, {pooled})) : at::Tensor()};
}

// J^T M^T w of `rows` draws w for one caption, float32 [rows, d].
at::Tensor probe_caption(const SensitivityProbe& probe, const Reading& reading,
                         const PreparedText& text, const at::Tensor& theta, std::int64_t rows,
                         std::uint64_t first) {
    const at::AutoGradMode recording(true);
    const at::Tensor leaf = theta.detach().unsqueeze(0).repeat({rows, 1}).set_requires_grad(true);
    const Conditioning told =
        probe.text_encoders.condition(text, probe.layout, leaf, probe.clip_skip, probe.size);
    const auto response = [&](const at::Tensor& x, const at::Tensor& root, std::uint64_t part) {
        std::vector<at::Tensor> w;
        std::vector<std::int64_t> one = x.sizes().slice(1).vec();
        for (std::int64_t row = 0; row < rows; ++row) {
            const std::uint64_t index = 2 * (first + static_cast<std::uint64_t>(row)) + part;
            w.push_back(
                at::matmul(draw_normal(one, probe.seed, Stream::sensitivity, index), root.t()));
        }
        return (at::stack(w).to(x.device()) * x).sum();
    };
    at::Tensor y = response(told.context, reading.context, 0);
    if (reading.pooled.defined() && told.y) y = y + response(*told.y, reading.pooled, 1);
    return gradient_of(y, leaf).to(at::kCPU);
}

// Of one word those that the captions which have it are most sensitive to, float32 [at most rank,
// d], with zeros in the numbers of others.
at::Tensor directions_of_word(const SensitivityProbe& probe, const Reading& reading,
                              std::size_t word, const at::Tensor& theta, std::int64_t rank) {
    std::vector<const PreparedText*> texts;
    for (const auto& of_picture : probe.texts) {
        for (const PreparedText& text : of_picture) {
            if (has_word(text, word)) texts.push_back(&text);
        }
    }
    require(!texts.empty(), "directions: no caption of the pictures has the word");
    const at::Tensor own = at::zeros({theta.numel()}, at::kFloat);
    probe.layout.mark_word(word, own);
    const auto numbers = own.sum().item<std::int64_t>();
    require(rank >= 1 && rank <= numbers, "direction_rank: needs 1 to ", numbers,
            ", the numbers of the word, for sensitive directions; got ", rank);
    const std::int64_t probes = std::min(4 * rank, 2 * numbers);
    std::vector<at::Tensor> seen;
    for (std::int64_t first = 0; first < probes; first += rows_at_once) {
        probe.load.cancel.check();
        const auto text = static_cast<std::size_t>(first / rows_at_once) % texts.size();
        seen.push_back(probe_caption(probe, reading, *texts[text], theta,
                                     std::min(rows_at_once, probes - first),
                                     static_cast<std::uint64_t>(first)));
    }
    const auto [u, values, right] =
        at::linalg_svd((at::cat(seen) * own).to(at::kDouble), /*full_matrices=*/false);
    const double largest = values[0].item<double>();
    require(largest > 0, "directions: no caption of the pictures depends on the word");
    const auto heard = values.gt(1e-5 * largest).sum().item<std::int64_t>();
    if (heard < rank) {
        log_info("directions: the captions depend on ", heard, " directions of the word; asked ",
                 "for were ", rank);
    }
    return right.slice(0, 0, std::min(rank, heard)).to(at::kFloat).contiguous();
}

}  // namespace

at::Tensor sensitive_directions(const SensitivityProbe& probe, const at::Tensor& theta,
                                std::int64_t rank) {
    const Reading reading = reading_of(probe);
    const at::Tensor start = theta.to(probe.text_encoders.all().front()->device());
    std::vector<at::Tensor> of_words;
    for (std::size_t word = 0; word < probe.layout.words(); ++word) {
        of_words.push_back(directions_of_word(probe, reading, word, start, rank));
    }
    return at::cat(of_words);
}

}  // namespace zoodip
