#include "train/run_state.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include <ATen/ops/empty.h>

#include "core/error.h"
#include "core/json.h"
#include "nn/tensor_file.h"

namespace zoodip {
namespace {

constexpr const char* kind = "zoodip run 2";

at::Tensor take(TensorFile& contents, const char* name, const std::string& from,
                at::ScalarType type = at::kFloat) {
    const auto found = contents.tensors.find(name);
    require(found != contents.tensors.end() && found->second.scalar_type() == type, from,
            ": lacks '", name, "', it is damaged");
    return found->second;
}

at::Tensor take_if_there(TensorFile& contents, const char* name, const std::string& from) {
    return contents.tensors.count(name) > 0 ? take(contents, name, from) : at::Tensor();
}

TensorFile contents_of(const SavedRun& run) {
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
    return contents;
}

// from: as messages call it.
SavedRun run_of(TensorFile contents, const std::string& from) {
    require(contents.metadata["kind"] == kind, from, ": is not the state of a run of this version");
    SavedRun run;
    run.identity = parse_json(contents.metadata["identity"]);
    run.state.step = std::atoll(contents.metadata["step"].c_str());
    run.state.watch = nlohmann::json::parse(contents.metadata["watch"], nullptr, false);
    require(run.identity.is_object() && run.state.watch.is_object() && run.state.step >= 0, from,
            ": is damaged");
    run.state.theta = take(contents, "theta", from);
    run.state.m = take(contents, "m", from);
    run.state.v = take(contents, "v", from);
    run.state.average = take(contents, "average", from, at::kDouble);
    run.state.buffer = take_if_there(contents, "buffer", from);
    run.state.projection = take_if_there(contents, "projection", from);
    run.state.sound = take_if_there(contents, "sound", from);
    run.state.activations = take_if_there(contents, "activations", from);
    run.state.best = take_if_there(contents, "best", from);
    return run;
}

}  // namespace

void save_run(const std::filesystem::path& file, const SavedRun& run) {
    write_tensor_file(file, contents_of(run));
}

SavedRun load_run(const std::filesystem::path& file) {
    return run_of(read_tensor_file(file), file.string());
}

std::string to_bytes(const SavedRun& run) {
    const TensorFile contents = contents_of(run);
    nlohmann::json all = {{"metadata", contents.metadata}};
    for (const auto& [name, tensor] : contents.tensors) {
        const at::Tensor plain = tensor.cpu().contiguous();
        const auto* data = static_cast<const std::uint8_t*>(plain.const_data_ptr());
        all["tensors"][name] = {{"type", std::string(at::toString(plain.scalar_type()))},
                                {"shape", plain.sizes().vec()},
                                {"data", nlohmann::json::binary({data, data + plain.nbytes()})}};
    }
    const std::vector<std::uint8_t> bytes = nlohmann::json::to_cbor(all);
    return {bytes.begin(), bytes.end()};
}

SavedRun from_bytes(const std::string& bytes) {
    const char* const from = "the state that rank 0 has sent";
    TensorFile contents;
    try {
        const nlohmann::json all = nlohmann::json::from_cbor(bytes);
        all.at("metadata").get_to(contents.metadata);
        for (const auto& [name, stored] : all.at("tensors").items()) {
            const bool wide = stored.at("type") == at::toString(at::kDouble);
            const auto shape = stored.at("shape").get<std::vector<std::int64_t>>();
            const auto& data = stored.at("data").get_binary();
            const auto bytes_there = static_cast<std::int64_t>(data.size());
            constexpr std::int64_t most = 64 << 20;  // far from where a product overflows
            std::int64_t count = 1;
            bool fits = true;
            for (const std::int64_t size : shape) {
                fits = fits && size >= 0 && size <= most && count <= most;
                if (fits) count *= size;
            }
            require(fits && bytes_there == count * (wide ? 8 : 4), from, ": '", name,
                    "' has another size than it says");
            at::Tensor tensor = at::empty(shape, wide ? at::kDouble : at::kFloat);
            std::memcpy(tensor.mutable_data_ptr(), data.data(), data.size());
            contents.tensors[name] = tensor;
        }
    } catch (const nlohmann::json::exception& error) {
        fail(from, ": cannot be read (", error.what(), ")");
    }
    return run_of(std::move(contents), from);
}

}  // namespace zoodip
