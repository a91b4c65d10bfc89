#include "nn/manifest_survey.h"

#include <algorithm>
#include <charconv>

namespace zoodip {
namespace {

auto first_at_least(const WeightSource& weights, const std::string& name) {
    const auto& all = weights.list();
    return std::lower_bound(
        all.begin(), all.end(), name,
        [](const WeightInfo& info, const std::string& key) { return info.name < key; });
}

}  // namespace

bool Survey::any(const std::string& start) const {
    const std::string name = root_ + start;
    const auto found = first_at_least(weights_, name);
    return found != weights_.list().end() && found->name.starts_with(name);
}

std::int64_t Survey::count(const std::string& start) const {
    constexpr std::int64_t most =
        100;  // no network is as deep; a stranger's number counts no block
    const std::string name = root_ + start;
    std::int64_t highest = -1;
    for (auto at = first_at_least(weights_, name);
         at != weights_.list().end() && at->name.starts_with(name); ++at) {
        const char* end = at->name.data() + at->name.size();
        std::int64_t number = -1;
        const auto [stop, error] = std::from_chars(at->name.data() + name.size(), end, number);
        const bool whole = error == std::errc() && stop != end && *stop == '.';
        if (whole && number >= 0 && number < most) highest = std::max(highest, number);
    }
    return highest + 1;
}

std::int64_t Survey::size(const std::string& name, std::size_t dimension) const {
    const WeightInfo* info = weights_.find(root_ + name);
    return info == nullptr || info->shape.size() <= dimension ? -1 : info->shape[dimension];
}

void Votes::add(const std::string& name, std::size_t dimension) {
    const std::int64_t size = survey_.size(name, dimension);
    if (size > 0) ++votes_[size];
}

void Votes::add_layer(const std::string& prefix) {
    add(prefix + ".weight", 0);
    add(prefix + ".bias", 0);
}

std::int64_t Votes::winner() const {
    const auto most =
        std::max_element(votes_.begin(), votes_.end(),
                         [](const auto& a, const auto& b) { return a.second < b.second; });
    return most == votes_.end() ? -1 : most->first;
}

void ManifestBuilder::tensor(const std::string& name, std::vector<std::int64_t> shape) {
    manifest_.push_back({root_ + name, std::move(shape)});
}

void ManifestBuilder::linear(const std::string& prefix, std::int64_t out, std::int64_t in,
                             bool bias) {
    tensor(prefix + ".weight", {out, in});
    if (bias) tensor(prefix + ".bias", {out});
}

void ManifestBuilder::conv3(const std::string& prefix, std::int64_t out, std::int64_t in,
                            bool bias) {
    tensor(prefix + ".weight", {out, in, 3, 3});
    if (bias) tensor(prefix + ".bias", {out});
}

void ManifestBuilder::norm(const std::string& prefix, std::int64_t width) {
    tensor(prefix + ".weight", {width});
    tensor(prefix + ".bias", {width});
}

}  // namespace zoodip
