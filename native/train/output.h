// What a run writes.
#pragma once

#include <filesystem>
#include <vector>

namespace zoodip {

// Where the token goes, and what may be there already.
struct Output {
    std::filesystem::path token;          // of the first word, .safetensors
    bool resume = false;                  // go on from the state that an earlier run left
    bool overwrite = false;               // replace what is there, and forget a stopped run
    std::filesystem::path log = {};       // JSON lines; empty for none
    std::filesystem::path previews = {};  // folder of pictures; empty leaves them to the observer
    bool log_goes_on = false;             // the log is there, and is that of the run to resume
    std::vector<std::filesystem::path> also = {};  // token files of further words
    bool of_graph = false;  // who queues its graph again goes on, without a command
};

// The token files of all words, the first one's first.
std::vector<std::filesystem::path> tokens_of(const Output& output);

}  // namespace zoodip
