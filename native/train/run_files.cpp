#include "train/run_files.h"

#include <algorithm>
#include <charconv>
#include <functional>
#include <map>
#include <optional>
#include <system_error>
#include <utility>

#include "core/error.h"
#include "core/json.h"
#include "core/log.h"
#include "train/going_on.h"
#include "train/run_log.h"
#include "words/token_file.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;

// sks.state.1500.safetensors, for token sks.safetensors -> 1500.
std::optional<std::int64_t> step_of(const fs::path& file, const fs::path& token) {
    const std::string name = file.filename().string(), start = token.stem().string() + ".state.";
    const std::string end = ".safetensors";
    if (!name.starts_with(start) || !name.ends_with(end)) return std::nullopt;
    if (name.size() <= start.size() + end.size()) return std::nullopt;
    const char* first = name.data() + start.size();
    const char* last = name.data() + name.size() - end.size();
    std::int64_t step = 0;
    const auto parsed = std::from_chars(first, last, step);
    if (parsed.ec != std::errc() || parsed.ptr != last) return std::nullopt;
    return step;
}

// What write_file_atomic of a killed process left: sks.state.safetensors.123-0.tmp
bool is_leftover(const fs::path& file, const fs::path& token) {
    const std::string name = file.filename().string();
    return name.ends_with(".tmp") && (name.starts_with(token.filename().string() + ".") ||
                                      name.starts_with(token.stem().string() + ".state.") ||
                                      name.starts_with(token.stem().string() + ".best."));
}

std::vector<fs::path> neighbours(const fs::path& token) {
    const fs::path folder = token.parent_path().empty() ? fs::path(".") : token.parent_path();
    std::error_code unreadable;
    std::vector<fs::path> all;
    for (const auto& entry : fs::directory_iterator(folder, unreadable)) {
        all.push_back(entry.path());
    }
    return all;
}

fs::path with_ending(const fs::path& token, const std::string& ending) {
    fs::path out = token;
    return out.replace_extension(ending);
}

void remove_all(const std::vector<fs::path>& files) {
    for (const fs::path& file : files) {
        std::error_code ignored;  // a state left behind is refused by name
        fs::remove(file, ignored);
    }
}

// Older states by step, newest first.
std::vector<fs::path> older_states(const fs::path& token) {
    std::map<std::int64_t, fs::path, std::greater<>> found;
    for (const fs::path& file : neighbours(token)) {
        if (const auto step = step_of(file, token)) found[*step] = file;
    }
    std::vector<fs::path> files;
    for (const auto& [step, file] : found) files.push_back(file);
    return files;
}

// The newest state, which need not be there, and the older ones.
std::vector<fs::path> states(const fs::path& token) {
    std::vector<fs::path> files = older_states(token);
    files.insert(files.begin(), state_path(token));
    return files;
}

// It was there when the run began. What was deleted since with all that is in it, by mistake or for
// room, does not take the word with it.
void make_folder_of(const fs::path& token) {
    std::error_code ignored;  // the writer says what is wrong
    if (token.has_parent_path()) fs::create_directories(token.parent_path(), ignored);
}

// A second name for a file, or a copy where the file system has no links.
void link_or_copy(const fs::path& from, const fs::path& to) {
    std::error_code ignored, refused;
    fs::remove(to, ignored);
    fs::create_hard_link(from, to, refused);
    if (refused) fs::copy_file(from, to, fs::copy_options::overwrite_existing, ignored);
}

}  // namespace

fs::path state_path(const fs::path& token) {
    return with_ending(token, ".state.safetensors");
}

fs::path best_path(const fs::path& token) {
    return with_ending(token, ".best.safetensors");
}

RunFiles::RunFiles(const Output& output, TokenLayout layout, const nlohmann::json& identity,
                   std::int64_t kept, bool elsewhere)
    : tokens_(tokens_of(output)),
      token_(output.token),
      layout_(std::move(layout)),
      identity_(nlohmann::json::parse(as_line(identity))),
      kept_(kept),
      of_graph_(output.of_graph),
      elsewhere_(elsewhere) {
    require(tokens_.size() == layout_.words(), "run files: ", layout_.words(), " words, but ",
            tokens_.size(), " token files");
}

void RunFiles::write_tokens(const LossWatch::Word& word, const nlohmann::json& more,
                            bool best) const {
    if (elsewhere_) return;
    std::map<std::string, std::string> metadata = {
        {"step", std::to_string(word.step)}, {"zoodip", identity_.dump()}, {"format", "pt"}};
    for (const auto& [name, value] : more.items()) metadata[name] = value.dump();
    // The first one's last: what it says of the run is true of the others then.
    for (std::size_t i = tokens_.size(); i-- > 0;) {
        make_folder_of(tokens_[i]);
        const TokenLayout layout = layout_.of_word(i);
        metadata["word"] = layout.slots().front().word;
        if (tokens_.size() > 1) metadata["learned_as"] = metadata["word"];
        write_token(best ? best_path(tokens_[i]) : tokens_[i], layout,
                    layout_.part_of_word(i, word.vector), metadata);
    }
}

void RunFiles::write_word(const LossWatch::Word& word, std::int64_t run_step, bool finished) const {
    auto more = nlohmann::json::object();
    if (finished) more["finished"] = true;
    if (word.step != run_step) more["run_step"] = run_step;
    write_tokens(word, more, /*best=*/false);
}

void RunFiles::write_best(const LossWatch::Word& best) const {
    write_tokens(best, {{"validation_loss", best.loss}}, /*best=*/true);
}

void RunFiles::rotate(std::int64_t next_step) const {
    const fs::path newest = state_path(token_);
    if (kept_ > 1 && fs::exists(newest)) {
        try {
            const auto step = load_run(newest).state.step;
            const fs::path older = with_ending(token_, concat(".state.", step, ".safetensors"));
            if (step < next_step) link_or_copy(newest, older);
        } catch (const Error&) {
            // A damaged one is not kept.
        }
    }
    const auto files = older_states(token_);
    const std::size_t kept = std::min(files.size(), static_cast<std::size_t>(kept_ - 1));
    remove_all({files.begin() + static_cast<std::ptrdiff_t>(kept), files.end()});
}

void RunFiles::keep(const RunState& state, const LossWatch::Word& word) const {
    if (elsewhere_) return;
    write_word(word, state.step);
    rotate(state.step);
    save_run(state_path(token_), {state, identity_});
}

void RunFiles::finish(const RunState& state, const LossWatch::Word& word) const {
    if (elsewhere_) return;
    write_word(word, state.step, /*finished=*/true);
    save_run(state_path(token_), {state, identity_});
    remove_all(older_states(token_));
    forget_leftovers();
}

std::string RunFiles::what_is_left() const {
    for (const fs::path& file : states(token_)) {
        try {
            return concat("The state as of step ", load_run(file).state.step,
                          " is kept: ", how_to_go_on());
        } catch (const Error&) {
            // None, or a damaged one: an older one may be whole.
        }
    }
    if (of_graph_) return "No state is kept: queued again, it starts anew";
    return fs::exists(token_) ? "No state is kept: the same command with `overwrite` starts anew"
                              : "Nothing is kept: the same command starts anew";
}

std::string RunFiles::how_to_go_on() const {
    return of_graph_ ? "queued again, it goes on from there"
                     : "the same command with `resume` goes on from there";
}

SavedRun RunFiles::newest() const {
    const std::vector<fs::path> files = states(token_);
    std::string problem;
    for (const fs::path& file : files) {
        if (!fs::exists(file)) continue;
        SavedRun run;
        try {
            run = load_run(file);
        } catch (const Error& error) {
            log_warning(error.what(), "; it is passed over for an older state");
            if (problem.empty()) problem = error.what();
            continue;
        }
        require_same_run(run.identity, identity_, file);
        return run;
    }
    require(!problem.empty(), "resume: there is no stopped run at ", state_path(token_).string());
    fail(problem, ", and no older state can be read. Start anew with `overwrite`");
}

void RunFiles::forget_leftovers() const {
    if (elsewhere_) return;
    std::vector<fs::path> files;
    for (const fs::path& token : tokens_) {
        for (const fs::path& file : neighbours(token)) {
            if (is_leftover(file, token)) files.push_back(file);
        }
    }
    remove_all(files);
}

void RunFiles::forget_states() const {
    if (elsewhere_) return;
    remove_all(states(token_));
    forget_leftovers();
}

void RunFiles::forget_earlier() const {
    if (elsewhere_) return;
    forget_states();
    for (const fs::path& token : tokens_) {
        remove_all(states(token));
        remove_all({best_path(token)});
    }
}

nlohmann::json recorded_identity(const fs::path& token) {
    const TokenFile file = read_token(token);
    const auto record = file.metadata.find("zoodip");
    if (record == file.metadata.end()) return nullptr;
    nlohmann::json identity = parse_json(record->second);
    return identity.is_object() ? identity : nlohmann::json();
}

std::optional<std::int64_t> finished_step(const fs::path& token) {
    std::error_code ignored;
    if (!fs::exists(token, ignored)) return std::nullopt;
    const auto metadata = read_token(token).metadata;
    const auto step = metadata.find(metadata.count("run_step") > 0 ? "run_step" : "step");
    if (metadata.count("finished") == 0 || step == metadata.end()) return std::nullopt;
    std::int64_t number = 0;
    const char* end = step->second.data() + step->second.size();
    const auto read = std::from_chars(step->second.data(), end, number);
    return read.ec == std::errc() && read.ptr == end ? std::optional(number) : std::nullopt;
}

std::optional<SavedRun> saved_run(const fs::path& token) {
    for (const fs::path& file : states(token)) {
        try {
            return load_run(file);
        } catch (const Error&) {
            // A damaged one is passed over, as when the run is gone on with.
        }
    }
    return std::nullopt;
}

bool copy_state(const fs::path& token, const fs::path& to) {
    std::error_code ignored;
    if (!fs::is_regular_file(state_path(token), ignored)) return false;
    for (const auto path_of : {&best_path, &state_path}) {
        if (!fs::is_regular_file(path_of(token), ignored)) continue;
        std::error_code refused;
        fs::copy_file(path_of(token), path_of(to), fs::copy_options::overwrite_existing, refused);
        require(!refused, "cannot write ", path_of(to).string(), ": ", refused.message());
    }
    return true;
}

}  // namespace zoodip
