#include "train/plan.h"

#include <utility>

#include "core/error.h"
#include "core/sha256.h"
#include "io/atomic_file.h"
#include "train/engine.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;

void check_output(const Output& output) {
    require(output.token.extension() == ".safetensors", "out: '", output.token.string(),
            "' needs the ending .safetensors");
    const fs::path state = state_path(output.token);
    if (output.resume) {
        require(fs::exists(state), "resume: there is no stopped run at ", state.string(),
                ". Leave out --resume to start one");
    } else if (!output.overwrite) {
        require(!fs::exists(state), state.string(), " holds a stopped run: add --resume to go on ",
                "from it, or --overwrite to start anew");
        require(!fs::exists(output.token), output.token.string(),
                " exists: name another --out, or add --overwrite");
    }
    probe_writable(output.token);
}

void require_other_file(const fs::path& out, const fs::path& model) {
    std::error_code unknown;  // two names of one file, or no file yet
    require(!fs::equivalent(out, model, unknown), "out: ", out.string(),
            " is the model itself: name another --out");
}

// What follows from source, settings and word.
void complete(Plan& plan, const nlohmann::json& settings, const CancelToken& cancel) {
    plan.architecture = detect_architecture(*plan.source);
    plan.settings = resolve_settings(settings, plan.architecture);
    require_size(*plan.source, plan.settings.resolution, plan.settings.resolution);
    plan.layout.add(plan.word, "clip_l", 1, plan.architecture.text_width);
    plan.load = {parse_weight_type(plan.settings.weights),
                 parse_compute_type(plan.settings.compute), open_device(plan.settings.device),
                 cancel};
    plan.load.fingerprint = std::make_shared<Sha256>();
}

std::string digest(const at::Tensor& tensor) {
    const at::Tensor plain = tensor.to(at::kCPU, at::kFloat).contiguous();
    Sha256 hash;
    hash.update(std::as_bytes(
        std::span(plain.const_data_ptr<float>(), static_cast<std::size_t>(plain.numel()))));
    return hash.hex();
}

std::string digest(const NoiseSchedule& schedule) {
    std::vector<double> all;
    for (std::int64_t t = 0; t < schedule.steps(); ++t) all.push_back(schedule.alphas_cumprod(t));
    Sha256 hash;
    hash.update(std::as_bytes(std::span(all)));
    return hash.hex();
}

nlohmann::json identity_of(const TrainingPicture& picture) {
    nlohmann::json out = {
        {"name", picture.name}, {"sha256", picture.sha256}, {"caption", picture.caption}};
    const at::Tensor& others = picture.text.fixed_vectors;
    if (others.defined()) out["other_words"] = digest(others);
    return out;
}

}  // namespace

fs::path state_path(const fs::path& token) {
    fs::path state = token;
    state.replace_extension(".state.safetensors");
    return state;
}

Plan make_plan(const PersonalizeRequest& request, const CancelToken& cancel) {
    // Names and ranges first: they cost nothing.
    resolve_settings(request.settings);
    const Tokenizer& tokenizer = clip_tokenizer();
    check_placeholder(tokenizer, request.word);
    Plan plan;
    plan.word = request.word;
    plan.initialiser = request.initialiser;
    plan.start = initialiser_id(tokenizer, request.initialiser);
    plan.output = {request.out, request.resume, request.overwrite};
    check_output(plan.output);
    require_other_file(request.out, request.model);
    plan.source = open_weights(request.model);
    complete(plan, request.settings, cancel);
    plan.pictures =
        list_training_pictures(request.images, plan.settings.caption, tokenizer, {request.word, 1});
    plan.empty_text = prepare_text(tokenizer, "", {});
    return plan;
}

Plan make_plan(const GraphRequest& request, const CancelToken& cancel) {
    resolve_settings(request.settings);
    require(!request.pictures.empty(), "pictures: needs at least one, got none");
    Plan plan;
    plan.word = request.word;
    plan.initialiser = request.initialiser;
    plan.start = request.start;
    plan.output = request.output;
    check_output(plan.output);
    plan.source = request.source;
    if (request.alphas_cumprod) plan.schedule = NoiseSchedule(*request.alphas_cumprod);
    plan.own_schedule = !request.alphas_cumprod;
    complete(plan, request.settings, cancel);
    plan.pictures = request.pictures;
    plan.empty_text = request.empty_text;
    plan.check = request.check;
    return plan;
}

nlohmann::json identity_of(const Plan& plan) {
    nlohmann::json pictures = nlohmann::json::array();
    for (const auto& picture : plan.pictures) pictures.push_back(identity_of(picture));
    nlohmann::json identity = {{"zoodip", ZOODIP_VERSION},
                               {"family", plan.architecture.family},
                               {"word", plan.word},
                               {"initialiser", plan.initialiser},
                               {"settings", result_settings(plan.settings)},
                               {"model", plan.load.fingerprint->hex()},
                               {"pictures", pictures}};
    if (!plan.own_schedule) identity["schedule"] = digest(plan.schedule);
    if (const auto* vector = std::get_if<at::Tensor>(&plan.start)) {
        identity["start"] = digest(*vector);
    }
    return identity;
}

}  // namespace zoodip
