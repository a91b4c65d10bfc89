// Runs a target on every file of the folders that are named, in the order of their names, where
// there is no libFuzzer. The name is printed first, so that the last one is the one that ends the
// process.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <vector>

#include "fuzz.h"

#include "io/atomic_file.h"

namespace fs = std::filesystem;

int main(int argc, char** argv) {
    std::vector<fs::path> inputs;
    for (int i = 1; i < argc; ++i) {
        for (const auto& entry : fs::directory_iterator(argv[i])) inputs.push_back(entry.path());
    }
    std::sort(inputs.begin(), inputs.end());
    for (const fs::path& input : inputs) {
        std::fprintf(stderr, "%s\n", input.string().c_str());
        const auto bytes = zoodip::read_file(input, 1 << 24);
        LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
    }
    std::fprintf(stderr, "%zu inputs\n", inputs.size());
    return inputs.empty() ? 1 : 0;
}
