// What a run is going to write, made sure of before anything is read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "io/outputs.h"
#include "train/output.h"

namespace zoodip {

// Checks and holds the tokens with their neighbours, the log, and, where previews are drawn, their
// folder. What is there already is refused, but for what the run to resume has written itself and,
// with `overwrite`, for what is no input. Decides log_goes_on. Throws Error.
std::shared_ptr<const Outputs> hold_outputs(Output& output, std::vector<Input> inputs,
                                            std::int64_t preview_every);

// A folder of training pictures as an input: what is in it, and would be read, counts.
Input pictures_in(const std::filesystem::path& folder);

// The token file whose lock stands for this one and for all that a run of it writes beside it:
// sks.safetensors for sks.best.safetensors and for sks.state.500.safetensors.
std::filesystem::path token_of(const std::filesystem::path& file);

// 500 -> "000500.png", so that names sort as steps do.
std::string preview_name(std::int64_t step);

// Under which keyword a preview says of which run it is (run_id).
inline constexpr const char* preview_mark = "zoodip run";

}  // namespace zoodip
