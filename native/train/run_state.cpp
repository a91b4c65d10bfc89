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

}  // namespace zoodip
