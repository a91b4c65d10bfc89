#include "train/rank_facts.h"

#include <span>
#include <string>

#include <ATen/Version.h>
#include <torch/version.h>

#include "core/json.h"
#include "core/sha256.h"
#include "ops/cpu_isa.h"

namespace zoodip {
namespace {

// As short as tells two apart: it is for reading, and no defence against anybody.
std::string short_digest(std::span<const std::byte> bytes) {
    Sha256 hash;
    hash.update(bytes);
    return hash.hex().substr(0, 16);
}

std::string short_digest(const std::string& text) {
    return short_digest(std::as_bytes(std::span(text)));
}

}  // namespace

Facts facts_of(const Plan& plan) {
    Facts facts = {{"version of zoodip", ZOODIP_VERSION},
                   {"version of torch", TORCH_VERSION},
                   {"device", plan.settings.device},
                   {"instruction set", name_of(cpu_isa())},
                   {"instruction set of torch", at::get_cpu_capability()},
                   {"word", plan.word()},
                   {"initialiser", plan.words.front().initialiser}};
    for (std::size_t i = 1; i < plan.words.size(); ++i) {
        const std::string number = std::to_string(i + 1);
        facts.emplace_back("word " + number, plan.words[i].word);
        facts.emplace_back("initialiser " + number, plan.words[i].initialiser);
    }
    const nlohmann::json settings = result_settings(plan.settings);
    for (const auto& [name, value] : settings.items()) {
        facts.emplace_back("setting " + name, show_json(value));
    }
    for (std::size_t i = 0; i < plan.pictures.size(); ++i) {
        const TrainingPicture& picture = plan.pictures[i];
        const std::string number = std::to_string(i + 1);
        facts.emplace_back("picture " + number, picture.name + " " + picture.sha256.substr(0, 16));
        const nlohmann::json drawn = {picture.captions, picture.repeats};
        facts.emplace_back(concat("caption of picture ", number, " (", picture.name, ")"),
                           short_digest(show_json(drawn)) + " " + picture.captions.front());
    }
    return facts;
}

Facts facts_of_weights(const Plan& plan, const at::Tensor& theta) {
    const at::Tensor plain = theta.contiguous();
    const auto* data = static_cast<const std::byte*>(plain.const_data_ptr());
    return {{"model", plan.load.fingerprint->hex().substr(0, 16)},
            {"word to start from", short_digest({data, plain.nbytes()})}};
}

}  // namespace zoodip
