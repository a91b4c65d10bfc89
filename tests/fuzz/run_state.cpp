// Any bytes as the state of a run, and its identity beside another run's.
#include "train/run_state.h"

#include "fuzz.h"
#include "memory_file.h"

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
    expect(same == (run.identity == asked), "another run is refused");
    return 0;
}
