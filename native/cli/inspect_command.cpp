#include <cstdio>
#include <iostream>
#include <memory>
#include <string>

#include "cli/commands.h"
#include "cli/setting_options.h"

#include "train/inspect.h"

namespace zoodip {
namespace {

struct InspectOptions {
    std::filesystem::path model;
    bool as_json = false;
    SettingOptions settings;
};

std::string megabytes(const nlohmann::json& bytes) {
    char text[32];
    std::snprintf(text, sizeof text, "%8.1f MB", bytes.get<double>() / 1e6);
    return text;
}

void print_parts(const nlohmann::json& report) {
    for (const char* name : {"unet", "text_encoder", "vae", "unused"}) {
        const auto& part = report["parts"][name];
        std::printf("  %-13s %4lld tensors  %9.2f M parameters ", name,
                    part["tensors"].get<long long>(), part["parameters"].get<double>() / 1e6);
        for (const auto& [type, bytes] : part["bytes"].items()) {
            std::printf(" %s %s", megabytes(bytes).c_str(), type.c_str());
        }
        std::printf("\n");
    }
}

void print_memory(const nlohmann::json& report) {
    std::printf("memory to expect while training at %lld x %lld, n %lld, weights %s, compute %s:\n",
                report["resolution"].get<long long>(), report["resolution"].get<long long>(),
                report["n"].get<long long>(), report["weights"].get<std::string>().c_str(),
                report["compute"].get<std::string>().c_str());
    for (const char* name :
         {"program", "encoding", "text_encoder", "unet", "layer", "activations", "peak"}) {
        std::printf("  %-13s %s%s\n", name, megabytes(report["memory"][name]).c_str(),
                    std::string(name) == "encoding" ? "  (freed before the UNet is loaded)" : "");
    }
}

int inspect(const InspectOptions& options, const CLI::App& command) {
    const nlohmann::json report = inspect_model(options.model, options.settings.chosen(command));
    if (options.as_json) {
        std::cout << report.dump(2) << '\n';
        return 0;
    }
    std::printf(
        "%s: %s, predicts %s, %s autoencoder, words of %lld numbers, sides in steps of "
        "%lld\n",
        report["file"].get<std::string>().c_str(), report["family"].get<std::string>().c_str(),
        report["prediction"].get<std::string>().c_str(), report["vae"].get<std::string>().c_str(),
        report["text_width"].get<long long>(), report["size_multiple"].get<long long>());
    print_parts(report);
    std::printf("  %.2f M parameters, %.1f %% of them become INT8\n",
                report["parameters"].get<double>() / 1e6,
                100 * report["quantised_share"].get<double>());
    print_memory(report);
    return 0;
}

}  // namespace

void add_inspect_command(CLI::App& app, Command& chosen) {
    auto options = std::make_shared<InspectOptions>();
    CLI::App* command = app.add_subcommand("inspect", "Say what a checkpoint is and what it takes");
    command->add_option("model", options->model, "Checkpoint (.safetensors) or diffusers folder")
        ->required();
    command->add_flag("--json", options->as_json, "Print JSON");
    options->settings.add_to(*command);
    command->callback([options, command, &chosen] {
        chosen = [options, command](const CancelToken&) { return inspect(*options, *command); };
    });
}

}  // namespace zoodip
