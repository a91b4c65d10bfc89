#include <algorithm>
#include <cstdio>
#include <iostream>
#include <memory>
#include <string>

#include "cli/commands.h"
#include "cli/progress.h"
#include "cli/setting_options.h"

#include "ops/types.h"
#include "reports/inspect.h"
#include "reports/quant_report.h"

namespace zoodip {
namespace {

struct InspectOptions {
    std::filesystem::path model;
    bool as_json = false;
    bool quant = false;
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

void print_unread(const nlohmann::json& names) {
    constexpr std::size_t shown = 5;
    for (std::size_t i = 0; i < std::min(shown, names.size()); ++i) {
        std::printf("  read by nothing: %s\n", names[i].get<std::string>().c_str());
    }
    if (names.size() > shown) std::printf("  and %zu more\n", names.size() - shown);
}

void print_memory(const nlohmann::json& report) {
    if (const std::string choice = report["compute_choice"]; !choice.empty()) {
        std::printf("%s\n", choice.c_str());
    }
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

void print_quant_row(const std::string& name, const nlohmann::json& row) {
    std::printf("  %-13s %-7s %8.2f M  %5.1f %%  %s  %s  %8.5f  %8.5f  %s\n", name.c_str(),
                row.value("weights", "").c_str(), row["parameters"].get<double>() / 1e6,
                100 * row["share"].get<double>(), megabytes(row["bytes_before"]).c_str(),
                megabytes(row["bytes_after"]).c_str(), row["mean_error"].get<double>(),
                row["worst_error"].get<double>(), row["worst_layer"].get<std::string>().c_str());
}

void print_quant(const nlohmann::json& quant) {
    std::printf("quantised with weights %s (error of a layer: |W - W_q| / |W|):\n",
                quant["weights"].get<std::string>().c_str());
    std::printf("  %-13s %-7s %10s  %7s  %11s  %11s  %8s  %8s  %s\n", "", "weights", "parameters",
                "share", "in the file", "in memory", "mean", "worst", "worst layer");
    for (const char* name : {"unet", "text_encoder", "vae"}) {
        print_quant_row(name, quant["parts"][name]);
    }
    print_quant_row("all", quant["all"]);
}

nlohmann::json take_report(const InspectOptions& options, const CLI::App& command,
                           const CancelToken& cancel) {
    const nlohmann::json settings = options.settings.chosen(command);
    nlohmann::json report = inspect_model(options.model, settings);
    if (options.quant) {
        ProgressLine line;
        report["quant"] = report_quantisation(
            options.model, settings,
            [&](std::int64_t done, std::int64_t total) { line.show(done, total, "weights"); },
            cancel);
    }
    return report;
}

int inspect(const InspectOptions& options, const CLI::App& command, const CancelToken& cancel) {
    const nlohmann::json report = take_report(options, command, cancel);
    if (options.as_json) {
        std::cout << report.dump(2) << '\n';
        return 0;
    }
    std::printf(
        "%s: %s, predicts %s, %s, %s autoencoder, words of %lld numbers, sides in steps of "
        "%lld\n",
        report["file"].get<std::string>().c_str(), report["family"].get<std::string>().c_str(),
        report["prediction"].get<std::string>().c_str(),
        report["schedule"].get<std::string>().c_str(), report["vae"].get<std::string>().c_str(),
        report["text_width"].get<long long>(), report["size_multiple"].get<long long>());
    std::printf("  what it predicts is told %s\n",
                report["prediction_reason"].get<std::string>().c_str());
    for (const auto& encoder : report["text_encoders"]) {
        std::printf("  %-13s tokens of %lld numbers, of mean norm %.3f\n",
                    encoder["key"].get<std::string>().c_str(), encoder["width"].get<long long>(),
                    encoder["row_norm"].get<double>());
    }
    print_parts(report);
    const bool dense = report["weights"] == name_of(weight_type_names(), WeightType::dense);
    std::printf("  %.2f M parameters, %.1f %% of them in layers %s\n",
                report["parameters"].get<double>() / 1e6,
                100 * report["quantised_share"].get<double>(),
                dense ? "that could be quantised" : "that are quantised");
    print_unread(report["unread"]);
    print_memory(report);
    if (options.quant) print_quant(report["quant"]);
    return 0;
}

}  // namespace

void add_inspect_command(CLI::App& app, Command& chosen) {
    auto options = std::make_shared<InspectOptions>();
    CLI::App* command = app.add_subcommand("inspect", "Say what a checkpoint is and what it takes");
    command->add_option("model", options->model, "Checkpoint (.safetensors) or diffusers folder")
        ->required();
    command->add_flag("--json", options->as_json, "Print JSON");
    command->add_flag("--quant", options->quant,
                      "Read the weights too, and say what --weights makes of them: share, bytes, "
                      "errors");
    options->settings.add_to(*command);
    command->callback([options, command, &chosen] {
        chosen = [options, command](const CancelToken& cancel) {
            return inspect(*options, *command, cancel);
        };
    });
}

}  // namespace zoodip
