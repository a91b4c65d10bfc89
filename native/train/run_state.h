// All that a run needs to go on: some hundred kilobytes, written atomically.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include <ATen/core/Tensor.h>
#include <nlohmann/json.hpp>

namespace zoodip {

struct RunState {
    std::int64_t step = 0;
    at::Tensor theta;        // float32 [d]
    at::Tensor m, v;         // float32 [d], ZOAdam's moments
    at::Tensor buffer;       // float32 [rows < tau, d], words recorded for the subspace
    at::Tensor projection;   // float32 [rows, d], P
    at::Tensor average;      // float64 [d], the sum of the words averaged so far
    at::Tensor sound;        // float32 [d], the latest word before losses rose
    at::Tensor activations;  // scales of integer activations (Activations::save), if any
    at::Tensor best;         // float32 [d], the word of the best validation; undefined before one
    nlohmann::json watch = nlohmann::json::object();  // what LossWatch has seen
};

struct SavedRun {
    RunState state;
    nlohmann::json identity;  // settings, model, pictures: what the run was
};

void save_run(const std::filesystem::path& file, const SavedRun& run);

// Throws Error when the file is missing, damaged or of another kind.
SavedRun load_run(const std::filesystem::path& file);

// The same for another process; of what comes from one, Error is thrown as well.
std::string to_bytes(const SavedRun& run);
SavedRun from_bytes(const std::string& bytes);

}  // namespace zoodip
