#include "ranks/distributed_objective.h"

#include <cstring>
#include <string>
#include <string_view>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/scalar_tensor.h>

#include "core/error.h"

namespace zoodip {
namespace {

// Of a contiguous tensor on the CPU.
std::string_view bytes_of(const at::Tensor& tensor) {
    return {static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes()};
}

at::Tensor tensor_of(std::string_view bytes, at::ScalarType type) {
    const auto width = static_cast<std::int64_t>(at::elementSize(type));
    at::Tensor out = at::empty({static_cast<std::int64_t>(bytes.size()) / width}, type);
    require(out.nbytes() == bytes.size(), "ranks: needs whole numbers of ", width, " bytes, got ",
            bytes.size(), " bytes");
    std::memcpy(out.mutable_data_ptr(), bytes.data(), bytes.size());
    return out;
}

// float64 [samples, rows], from what each rank told of its shares.
at::Tensor in_their_places(const std::vector<std::string>& told, std::int64_t samples,
                           std::int64_t rows) {
    std::string all;
    for (const std::string& one : told) all += one;
    const at::Tensor losses = tensor_of(all, at::kDouble);
    require(losses.numel() == samples * rows, "ranks: needs ", samples * rows, " losses, got ",
            losses.numel());
    return losses.reshape({samples, rows});
}

}  // namespace

DistributedObjective::DistributedObjective(Objective& inner, Ranks& ranks, std::int64_t chunk)
    : inner_(inner), ranks_(ranks), chunk_(chunk) {}

at::Tensor DistributedObjective::losses_of(const Share& share, const at::Tensor& thetas,
                                           const Sample& sample, LossForm form) {
    const std::int64_t k = thetas.size(0);
    // As many rows as one process lets pass at once: another number might give other bits.
    const std::int64_t size = chunk_ == 0 ? k : std::min(k, chunk_);
    const std::int64_t base = form == LossForm::linearised && share.begin > 0 ? 1 : 0;
    at::Tensor rows = thetas.slice(0, share.begin, share.end);
    if (base == 1) rows = at::cat({thetas.slice(0, 0, 1), rows});
    const std::int64_t lacks = size - rows.size(0);
    if (lacks > 0) rows = at::cat({rows, rows.slice(0, 0, 1).expand({lacks, -1})});
    return inner_.losses(rows, sample, form).slice(0, base, base + share.rows());
}

at::Tensor DistributedObjective::losses(const at::Tensor& thetas, const Sample& sample,
                                        LossForm form) {
    return mean_losses(thetas, {sample}, form);
}

at::Tensor DistributedObjective::mean_losses(const at::Tensor& thetas,
                                             const std::vector<Sample>& samples, LossForm form) {
    const auto count = static_cast<std::int64_t>(samples.size());
    const auto shares = share_out(count, thetas.size(0), chunk_, ranks_.size());
    const std::string own = ranks_.telling([&] {
        std::string bytes;
        for (const Share& share : shares[static_cast<std::size_t>(ranks_.rank())]) {
            const Sample& sample = samples[static_cast<std::size_t>(share.sample)];
            bytes += bytes_of(losses_of(share, thetas, sample, form).contiguous());
        }
        return bytes;
    });
    const auto told =
        ranks_.gather(Ranks::Call::step, own, quick_digest(bytes_of(thetas.contiguous())));
    return mean_in_order(in_their_places(told, count, thetas.size(0)).unbind(0));
}

LossGradient DistributedObjective::gradient(const at::Tensor& theta, const Sample& sample) {
    return mean_gradient(theta, {sample});
}

LossGradient DistributedObjective::mean_gradient(const at::Tensor& theta,
                                                 const std::vector<Sample>& samples) {
    const auto count = static_cast<std::int64_t>(samples.size());
    const auto shares = share_out(count, 1, 1, ranks_.size());
    const std::vector<Share>& own = shares[static_cast<std::size_t>(ranks_.rank())];
    const auto divisor = static_cast<double>(count);
    std::string told;
    std::vector<at::Tensor> parts;
    ranks_.telling([&] {
        for (const Share& share : own) {
            const LossGradient one =
                inner_.gradient(theta, samples[static_cast<std::size_t>(share.sample)]);
            told += bytes_of(at::scalar_tensor(one.loss, at::kDouble));
            parts.push_back(one.gradient / divisor);
        }
    });
    const auto all =
        ranks_.gather(Ranks::Call::step, told, quick_digest(bytes_of(theta.contiguous())));
    const at::Tensor losses = in_their_places(all, count, 1);
    LossGradient mean;
    for (std::int64_t i = 0; i < count; ++i) mean.loss += losses[i].item<double>() / divisor;
    bool any_before = false;
    for (int rank = 0; rank < ranks_.rank(); ++rank) {
        any_before = any_before || !shares[static_cast<std::size_t>(rank)].empty();
    }
    mean.gradient = sum_in_order(parts, any_before, theta.numel());
    return mean;
}

// On to the next, which adds its own; from the last one the sum goes around to all others.
at::Tensor DistributedObjective::sum_in_order(const std::vector<at::Tensor>& own, bool any_before,
                                              std::int64_t d) {
    const int rank = ranks_.rank(), last = ranks_.size() - 1;
    const auto receive = [&](int from) {
        return tensor_of(ranks_.receive(from, static_cast<std::size_t>(d) * sizeof(float)),
                         at::kFloat);
    };
    at::Tensor sum;
    if (any_before) sum = receive(rank - 1);
    for (const at::Tensor& part : own) sum = sum.defined() ? sum + part : part;
    if (last == 0) return sum;
    if (rank == last) {
        ranks_.send(0, bytes_of(sum.contiguous()));
        return sum;
    }
    if (sum.defined()) ranks_.send(rank + 1, bytes_of(sum.contiguous()));
    sum = receive(rank == 0 ? last : rank - 1);
    if (rank + 1 < last) ranks_.send(rank + 1, bytes_of(sum));
    return sum;
}

// What was found is compared by the next step's losses alone: it decides which those are, and not
// what is made of them.
void DistributedObjective::calibrate(const at::Tensor& theta, const std::vector<Sample>& samples) {
    ranks_.telling([&] { inner_.calibrate(theta, samples); });
}

}  // namespace zoodip
