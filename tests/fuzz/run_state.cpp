// Any bytes as the state of a run, and its identity beside another run's.
#include "fuzz.h"
#include "memory_file.h"

#include "train/going_on.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace zoodip;
    using namespace zoodip::fuzz;
    static MemoryFile file;
    file.fill(as_span(data, size));
    SavedRun run;
    if (!accepted([&] { run = load_run(file.path()); })) return 0;
    expect(run.state.step >= 0, "a run's step is not negative");
    expect(run.state.theta.scalar_type() == at::kFloat && run.state.m.defined() &&
               run.state.v.defined(),
           "a run has its word and its moments");
    expect(accepted([&] { require_same_run(run.identity, run.identity, file.path()); }),
           "a run is the same as itself");
    const nlohmann::json asked = {{"settings", {{"n", 2}, {"caption", "a {}"}}},
                                  {"model", "model"},
                                  {"pictures", {"first", "second"}}};
    const bool same = accepted([&] { require_same_run(run.identity, asked, file.path()); });
    nlohmann::json decides = run.identity;
    if (decides.contains("settings") && decides["settings"].is_object()) {
        for (const char* end : {"steps", "take"}) decides["settings"].erase(end);
    }
    expect(same == (decides == asked), "another run is refused");
    TrainSettings settings;
    settings.steps = run.state.step;
    if (accepted([&] { require_reachable(run, settings, file.path()); })) {
        expect(state_for(run, settings).step == run.state.step, "a run goes on where it was");
    }
    settings.steps = run.state.step - 1;
    const nlohmann::json begun =
        run.identity.value("/settings/steps"_json_pointer, nlohmann::json());
    const bool reachable = accepted([&] { require_reachable(run, settings, file.path()); });
    expect(!reachable || begun == settings.steps, "no run goes back");
    return 0;
}
