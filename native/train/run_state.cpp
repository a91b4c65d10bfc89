#include "train/run_state.h"

#include <cstdlib>
#include <span>
#include <utility>

#include <ATen/ops/empty.h>

#include "core/error.h"
#include "core/json.h"
#include "core/sha256.h"
#include "nn/tensor_file.h"

namespace zoodip {
namespace {

constexpr const char* kind = "zoodip run 2";

at::Tensor take(TensorFile& contents, const char* name, const std::filesystem::path& file,
                at::ScalarType type = at::kFloat) {
    const auto found = contents.tensors.find(name);
    require(found != contents.tensors.end() && found->second.scalar_type() == type, file.string(),
            ": lacks '", name, "', it is damaged");
    return found->second;
}

at::Tensor take_if_there(TensorFile& contents, const char* name,
                         const std::filesystem::path& file) {
    return contents.tensors.count(name) > 0 ? take(contents, name, file) : at::Tensor();
}

std::string beneath(const std::string& path, const std::string& key) {
    return path.empty() ? key : path + "." + key;
}

// The first leaf in which two values differ, as "path was X, now Y".
std::string first_difference(const nlohmann::json& saved, const nlohmann::json& asked,
                             const std::string& path) {
    if (saved == asked) return {};
    if (saved.is_object() && asked.is_object()) {
        nlohmann::json all = saved;
        all.update(asked);
        for (const auto& [key, value] : all.items()) {
            const auto inner =
                first_difference(saved.value(key, nlohmann::json()),
                                 asked.value(key, nlohmann::json()), beneath(path, key));
            if (!inner.empty()) return inner;
        }
    }
    if (saved.is_array() && asked.is_array()) {
        if (saved.size() != asked.size()) {
            return concat(path, " were ", saved.size(), ", now ", asked.size());
        }
        for (std::size_t i = 0; i < saved.size(); ++i) {
            const auto inner = first_difference(saved[i], asked[i], concat(path, "[", i, "]"));
            if (!inner.empty()) return inner;
        }
    }
    return concat(path, " was ", saved.dump(), ", now ", asked.dump());
}

}  // namespace

void save_run(const std::filesystem::path& file, const SavedRun& run) {
    const RunState& state = run.state;
    TensorFile contents;
    contents.tensors = {
        {"theta", state.theta}, {"m", state.m}, {"v", state.v}, {"average", state.average}};
    if (state.buffer.defined()) contents.tensors["buffer"] = state.buffer;
    if (state.projection.defined()) contents.tensors["projection"] = state.projection;
    if (state.sound.defined()) contents.tensors["sound"] = state.sound;
    if (state.activations.defined()) contents.tensors["activations"] = state.activations;
    if (state.best.defined()) contents.tensors["best"] = state.best;
    contents.metadata = {{"kind", kind},
                         {"step", std::to_string(state.step)},
                         {"watch", state.watch.dump()},
                         {"identity", run.identity.dump()}};
    write_tensor_file(file, contents);
}

SavedRun load_run(const std::filesystem::path& file) {
    TensorFile contents = read_tensor_file(file);
    require(contents.metadata["kind"] == kind, file.string(),
            ": is not the state of a run of this version");
    SavedRun run;
    run.identity = parse_json(contents.metadata["identity"]);
    run.state.step = std::atoll(contents.metadata["step"].c_str());
    run.state.watch = nlohmann::json::parse(contents.metadata["watch"], nullptr, false);
    require(run.identity.is_object() && run.state.watch.is_object() && run.state.step >= 0,
            file.string(), ": is damaged");
    run.state.theta = take(contents, "theta", file);
    run.state.m = take(contents, "m", file);
    run.state.v = take(contents, "v", file);
    run.state.average = take(contents, "average", file, at::kDouble);
    run.state.buffer = take_if_there(contents, "buffer", file);
    run.state.projection = take_if_there(contents, "projection", file);
    run.state.sound = take_if_there(contents, "sound", file);
    run.state.activations = take_if_there(contents, "activations", file);
    run.state.best = take_if_there(contents, "best", file);
    return run;
}

std::string run_id(const nlohmann::json& identity) {
    nlohmann::json run = identity;
    if (run.is_object() && run.contains("settings") && run["settings"].is_object()) {
        for (const char* extent : {"steps", "average_steps"}) run["settings"].erase(extent);
    }
    const std::string text = show_json(run);
    Sha256 hash;
    hash.update(std::as_bytes(std::span(text)));
    return hash.hex();
}

void require_same_run(const nlohmann::json& saved, const nlohmann::json& asked,
                      const std::filesystem::path& file) {
    require(saved == asked, file.string(),
            " holds another run: ", first_difference(saved, asked, ""),
            ". Give what it was started with, or start anew with --overwrite");
}

}  // namespace zoodip
