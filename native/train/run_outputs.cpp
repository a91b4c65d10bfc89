#include "train/run_outputs.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>
#include <system_error>

#include "core/error.h"
#include "core/json.h"
#include "io/atomic_file.h"
#include "io/png_text.h"
#include "pictures/folder_listing.h"
#include "train/going_on.h"
#include "train/run_files.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;

bool is_digits(const std::string& text) {
    return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
}

// Whether a run's preview may have this name.
bool is_preview_name(const fs::path& file, std::int64_t every) {
    const std::string digits = file.stem().string();
    if (file.extension() != ".png" || !is_digits(digits) || digits.size() > 18) return false;
    const std::int64_t step = std::stoll(digits);
    return step > 0 && step % every == 0 && file.filename() == preview_name(step);
}

// The run that is gone on with; empty when it cannot be told, which is refused later.
std::string run_to_resume(const Output& output) {
    if (!output.resume) return {};
    const auto before = saved_run(output.token);
    return before ? run_id(before->identity) : std::string();
}

bool is_log_of(const fs::path& log, const std::string& run) {
    std::ifstream in(log, std::ios::binary);
    std::string line;
    if (!std::getline(in, line)) return in.eof();  // nothing was told yet
    const nlohmann::json event = parse_json(line);
    return event.is_object() && event.contains("run") && run_id(event["run"]) == run;
}

// Whether a token says that its run came to its end; one that cannot be read does not.
bool is_finished(const fs::path& token) {
    try {
        return finished_step(token).has_value();
    } catch (const Error&) {
        return false;
    }
}

// Whether a token is of this run.
bool is_word_of(const fs::path& token, const std::string& run) {
    try {
        const nlohmann::json identity = recorded_identity(token);
        return !run.empty() && identity.is_object() && run_id(identity) == run;
    } catch (const Error&) {
        return false;
    }
}

// The file of a word that is learned beside the first one: it has no state of its own.
void hold_further_word(Outputs& outputs, const Output& output, const fs::path& token,
                       const std::string& run) {
    constexpr const char* remedy = "name another word, or an `out` in another folder";
    outputs.hold("also", token, token_of(token));
    for (const fs::path& file : {best_path(token), state_path(token)}) outputs.check("also", file);
    if (output.resume || !output.overwrite) {
        require(!fs::exists(state_path(token)), state_path(token).string(),
                " holds a run of this word alone: ", remedy,
                output.resume ? "" : ", or add `overwrite`");
        for (const fs::path& file : {token, best_path(token)}) {
            require(!fs::exists(file) || (output.resume && is_word_of(file, run)),
                    "also: ", file.string(), " is there already, and not of this run: ", remedy,
                    output.resume ? "" : ", or add `overwrite`");
        }
    }
    for (const fs::path& file : {token, best_path(token)}) probe_writable(file);
}

void hold_word(Outputs& outputs, const Output& output) {
    const fs::path &token = output.token, state = state_path(token);
    require(token.extension() == ".safetensors", "out: '", token.string(),
            "' needs the ending .safetensors");
    outputs.hold("out", token, token_of(token));
    for (const fs::path& file : {best_path(token), state}) outputs.check("out", file);
    if (output.resume) {
        require(fs::exists(state), "resume: there is no ",
                is_finished(token) ? "state of this finished run" : "stopped run", " at ",
                state.string(), ". Leave out `resume` to start one");
    } else if (!output.overwrite) {
        require(!fs::exists(state) || !is_finished(token), token.string(),
                " is the word of a finished run: add `resume` and more `steps` to go on from it, ",
                "name another `out`, or add `overwrite`");
        require(!fs::exists(state), state.string(), " holds a stopped run: add `resume` to go on ",
                "from it, or `overwrite` to start anew");
        for (const fs::path& file : {token, best_path(token)}) require_free("out", file, false);
    }
    for (const fs::path& file : {token, best_path(token), state}) probe_writable(file);
}

// A device or a pipe takes what it is given, and holds nothing that could be lost.
void hold_log(Outputs& outputs, Output& output, const std::string& run) {
    const fs::path file = behind_links(output.log);
    std::error_code ignored;
    if (fs::is_other(file, ignored)) return;
    outputs.check("log", output.log);  // under the name that it was given
    outputs.hold("log", file, token_of(file));
    if (!fs::exists(file, ignored)) return;
    output.log_goes_on = output.resume && (run.empty() || is_log_of(file, run));
    if (!output.log_goes_on) require_free("log", output.log, output.overwrite);
    const std::ofstream writable(file, std::ios::app);
    require(writable.is_open(), "log: cannot write ", output.log.string(), ": ",
            std::strerror(errno));
}

void hold_previews(Outputs& outputs, const Output& output, std::int64_t every,
                   const std::string& run) {
    const fs::path& folder = output.previews;
    outputs.hold_folder("previews", folder);
    outputs.check("previews", folder / preview_name(every));
    for (const auto& entry : fs::directory_iterator(folder)) {
        const fs::path& file = entry.path();
        if (!is_preview_name(file, every)) continue;
        outputs.check("previews", file);
        const bool own = output.resume && (run.empty() || read_png_text(file, preview_mark) == run);
        if (!own) require_free("previews", file, output.overwrite);
    }
    probe_writable(folder / preview_name(9'999'999));
}

}  // namespace

std::string preview_name(std::int64_t step) {
    const std::string digits = std::to_string(step);
    return std::string(digits.size() < 6 ? 6 - digits.size() : 0, '0') + digits + ".png";
}

fs::path token_of(const fs::path& file) {
    if (file.extension() != ".safetensors") return file;
    fs::path stem = file.stem();
    for (;;) {
        const std::string ending = stem.extension().string();
        const bool of_state =
            ending == ".state" || (ending.size() > 1 && is_digits(ending.substr(1)) &&
                                   stem.stem().extension() == ".state");
        if (ending != ".best" && !of_state) break;
        stem = stem.stem();
    }
    return file.parent_path() / (stem += ".safetensors");
}

Input pictures_in(const fs::path& folder) {
    const auto counts = [folder](const fs::path& file) {
        const fs::path inside = file.lexically_relative(folder).parent_path();
        return is_training_file(file) && (inside.empty() || (!inside.has_parent_path() &&
                                                             read_folder_name(utf8_name(inside))));
    };
    return {folder, "the training pictures", counts};
}

std::shared_ptr<const Outputs> hold_outputs(Output& output, std::vector<Input> inputs,
                                            std::int64_t preview_every) {
    auto outputs = std::make_shared<Outputs>("zoodip train", std::move(inputs));
    hold_word(*outputs, output);
    const std::string run = run_to_resume(output);
    for (const fs::path& token : output.also) hold_further_word(*outputs, output, token, run);
    if (!output.log.empty()) hold_log(*outputs, output, run);
    if (preview_every > 0 && !output.previews.empty()) {
        hold_previews(*outputs, output, preview_every, run);
    }
    return outputs;
}

}  // namespace zoodip
