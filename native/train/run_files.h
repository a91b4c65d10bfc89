// What a run leaves on the disk: the word, the best word, and states to go on from.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>
#include <nlohmann/json.hpp>

#include "train/loss_watch.h"
#include "train/output.h"
#include "train/run_state.h"
#include "words/token_layout.h"

namespace zoodip {

// The newest state beside a token file: sks.safetensors -> sks.state.safetensors. Older ones are
// sks.state.STEP.safetensors.
std::filesystem::path state_path(const std::filesystem::path& token);
// sks.safetensors -> sks.best.safetensors
std::filesystem::path best_path(const std::filesystem::path& token);

class RunFiles {
  public:
    // A token file for each word of the layout; the states lie beside the first one. kept: how many
    // states there are at most. identity: what the run is; bytes that are no UTF-8 (of a picture's
    // name, say) are replaced. elsewhere: another process writes them, and nothing here touches the
    // disk.
    RunFiles(const Output& output, TokenLayout layout, const nlohmann::json& identity,
             std::int64_t kept, bool elsewhere = false);

    // Writes word and state: the state last, so that it is never ahead of the word. Whenever the
    // process is killed, the newest whole state is there.
    void keep(const RunState& state, const LossWatch::Word& word) const;
    // Of a run that came to its end: the word says so, and one state is left to go on from, for a
    // run of more steps.
    void finish(const RunState& state, const LossWatch::Word& word) const;
    // The word alone, of a run that is at this step.
    void write_word(const LossWatch::Word& word, std::int64_t run_step,
                    bool finished = false) const;
    void write_best(const LossWatch::Word& best) const;
    const nlohmann::json& identity() const { return identity_; }

    // The newest state that can be read; a damaged one is passed over with a warning. Throws Error
    // when there is none, and when it is that of another run, naming the difference.
    SavedRun newest() const;

    // After a failure to write, in a sentence: what can be gone on with, and by which command.
    std::string what_is_left() const;
    // "the same command with `resume` goes on from there"
    std::string how_to_go_on() const;

    // Removes what a killed process left half-written.
    void forget_leftovers() const;
    // Removes the states, and what was left half-written.
    void forget_states() const;
    // Removes what an earlier run left beside the word: its states and its best word.
    void forget_earlier() const;

  private:
    void write_tokens(const LossWatch::Word& word, const nlohmann::json& more, bool best) const;
    // Makes room for the state of the next step: the newest becomes an older one.
    void rotate(std::int64_t next_step) const;

    std::vector<std::filesystem::path> tokens_;  // of each word
    std::filesystem::path token_;                // the first of them
    TokenLayout layout_;
    nlohmann::json identity_;
    std::int64_t kept_;
    bool of_graph_, elsewhere_;
};

// The identity of the run that a token is of; null where it names none. Throws Error for what is no
// token.
nlohmann::json recorded_identity(const std::filesystem::path& token);

// The step at which the run of a token ended; nothing where it did not come to its end, or there is
// no such token.
std::optional<std::int64_t> finished_step(const std::filesystem::path& token);

// The run whose newest whole state lies beside a token; nothing without one.
std::optional<SavedRun> saved_run(const std::filesystem::path& token);

// Puts copies of what a run left beside a token to go on from, state and best word, beside another
// token. Says whether there was a state. Throws Error when the copies cannot be written.
bool copy_state(const std::filesystem::path& token, const std::filesystem::path& to);

}  // namespace zoodip
