// `zoodip`: reads the stamp beside it, checks that the torch it names is still that torch, and
// then becomes the program. It links no torch itself, so that a torch that was changed under the
// program gives one sentence and a command here instead of an error of the linker.
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "core/error.h"

#if defined(_WIN32)
#include <process.h>
#include <stdlib.h>
#else
#include <unistd.h>
#endif
#if defined(__linux__)
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#endif
#if defined(__APPLE__)
#include <mach-o/dyld.h>
#endif

namespace {

namespace fs = std::filesystem;

// The real file of this program: a link to it may lie anywhere.
fs::path executable_path() {
#if defined(_WIN32)
    return fs::canonical(_pgmptr);
#elif defined(__APPLE__)
    std::string buffer(4096, '\0');
    uint32_t size = static_cast<uint32_t>(buffer.size());
    zoodip::require(_NSGetExecutablePath(buffer.data(), &size) == 0, "its own path is too long");
    return fs::canonical(buffer.c_str());
#else
    return fs::canonical("/proc/self/exe");
#endif
}

// What the build wrote beside the program; every value is text.
struct Stamp {
    std::string python_executable;
    std::string torch;
    fs::path torch_dir;
};

std::optional<Stamp> read_stamp(const fs::path& path) {
    std::ifstream file(path);
    const nlohmann::json json = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object()) return std::nullopt;
    const auto text = [&json](const char* key) {
        const auto value = json.find(key);
        return value != json.end() && value->is_string() ? value->get<std::string>() : "";
    };
    Stamp stamp{text("python_executable"), text("torch"), text("torch_dir")};
    // Of a wheel, which may have been built elsewhere, torch lies beside the folder of modules.
    std::error_code ignored;
    const fs::path beside = path.parent_path().parent_path().parent_path() / "torch";
    if (fs::exists(beside / "version.py", ignored)) stamp.torch_dir = beside;
    if (stamp.torch.empty() || stamp.torch_dir.empty()) return std::nullopt;
    return stamp;
}

// The text of the line `__version__ = '...'` of torch's version.py; empty where there is none.
std::string torch_version(const fs::path& torch_dir) {
    std::ifstream file(torch_dir / "version.py");
    const std::string name = "__version__";
    for (std::string line; std::getline(file, line);) {
        if (line.compare(0, name.size(), name) != 0) continue;
        const auto begin = line.find_first_of("'\"");
        const auto end = line.find_last_of("'\"");
        if (begin != std::string::npos && end > begin) {
            return line.substr(begin + 1, end - begin - 1);
        }
    }
    return {};
}

std::string quoted(const std::string& word) {
    return word.find(' ') == std::string::npos ? word : '"' + word + '"';
}

// The command that builds the program anew: a build lies in <checkout>/modules/<tag>, or where pip
// put it, in <packages>/zoodip_modules/<tag>.
std::string build_command(const fs::path& folder, const std::string& python) {
    const fs::path script = folder.parent_path().parent_path() / "install.py";
    std::error_code ignored;
    const std::string interpreter = fs::exists(python, ignored) ? python : "python3";
    if (!fs::exists(script, ignored)) {
        return quoted(interpreter) + " install.py in a checkout of ComfyUI-ZOODiP";
    }
    return quoted(interpreter) + " " + quoted(script.string());
}

// Throws Error unless torch is still what the program was built for.
void check_torch(const Stamp& stamp, const std::string& command) {
    const std::string found = torch_version(stamp.torch_dir);
    zoodip::require(!found.empty(), "built for torch ", stamp.torch, ", but ",
                    stamp.torch_dir.string(), " is gone; run: ", command);
    zoodip::require(found == stamp.torch, "built for torch ", stamp.torch, ", but ",
                    stamp.torch_dir.string(), " is now ", found, "; run: ", command);
}

#if defined(__linux__)

// Whether the program comes as far as its first line: torch's libraries end it with a signal where
// they find no memory while they are loaded.
bool can_start(const fs::path& program) {
    const pid_t child = fork();
    if (child == 0) {
        const int nowhere = open("/dev/null", O_WRONLY);
        for (const int stream : {STDOUT_FILENO, STDERR_FILENO}) dup2(nowhere, stream);
        const rlimit no_core{0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        execl(program.c_str(), "zoodip", "--version", nullptr);
        _exit(127);
    }
    int status = 0;
    return child < 0 || waitpid(child, &status, 0) < 0 || status == 0;
}

// Throws Error where the limit on addresses (ulimit -v) leaves no room for the program itself.
void check_addresses(const fs::path& program) {
    rlimit limit{};
    if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return;
    zoodip::require(can_start(program), "the program does not start within the ",
                    limit.rlim_cur / 1'000'000,
                    " MB of addresses that it may have (ulimit -v); with its libraries it takes ",
                    "about 500 MB, and a training more. Raise the limit");
}

#endif

// Becomes the program; returns only on Windows, with the program's exit code.
int start(const fs::path& program, char** arguments, const std::string& command) {
    std::string name = "zoodip";
    arguments[0] = name.data();
#if defined(_WIN32)
    const auto code = _spawnv(_P_WAIT, program.string().c_str(), arguments);
    if (code != -1) return static_cast<int>(code);
#else
    execv(program.c_str(), arguments);
#endif
    zoodip::fail("cannot start ", program.string(), " (", std::strerror(errno),
                 "); run: ", command);
}

int launch(char** arguments) {
    const fs::path self = executable_path();
    const fs::path folder = self.parent_path();
    const std::optional<Stamp> stamp = read_stamp(folder / "stamp.json");
    const std::string command = build_command(folder, stamp ? stamp->python_executable : "");
    zoodip::require(stamp.has_value(), (folder / "stamp.json").string(),
                    " is missing or damaged; run: ", command);
    check_torch(*stamp, command);
    fs::path program = folder / "zoodip-main";
    program += self.extension();
#if defined(__linux__)
    check_addresses(program);
#endif
    return start(program, arguments, command);
}

}  // namespace

int main(int, char** argv) {
    try {
        return launch(argv);
    } catch (const std::exception& error) {
        std::cerr << "zoodip: " << error.what() << '\n';
        return 1;
    }
}
