#include <iostream>
#include <memory>

#include "cli/commands.h"
#include "cli/progress.h"

#include "io/atomic_file.h"
#include "ops/types.h"
#include "train/render.h"

namespace zoodip {
namespace {

struct SampleOptions {
    RenderRequest request;
    std::filesystem::path out;
};

int sample(const SampleOptions& options, const CancelToken& cancel) {
    require(options.out.extension() == ".png", "out: '", options.out.string(),
            "' needs the ending .png");
    probe_writable(options.out);
    ProgressLine line;
    line.note("loading ...");
    const Picture picture = render(
        options.request, [&](std::int64_t done, std::int64_t total) { line.show(done, total, ""); },
        cancel);
    write_png(options.out, picture);
    std::cerr << "done: " << options.out.string() << '\n';
    return 0;
}

void add_render_options(CLI::App& command, RenderRequest& request) {
    command.add_option("--model", request.model, "Checkpoint (.safetensors) or diffusers folder")
        ->required();
    command.add_option("--prompt", request.prompt, "What to draw")->required();
    command.add_option("--negative", request.negative, "What to keep away from");
    command.add_option("--token", request.tokens,
                       "Token file of a word in the prompt; may be given "
                       "several times");
    command.add_option("--width", request.width, "Pixels; 0 takes what the model was made for")
        ->capture_default_str()
        ->check(CLI::Range(0, 4096));
    command.add_option("--height", request.height, "Pixels; 0 takes what the model was made for")
        ->capture_default_str()
        ->check(CLI::Range(0, 4096));
    command.add_option("--steps", request.steps, "DPM-Solver++(2M) steps")
        ->capture_default_str()
        ->check(CLI::Range(1, 999));
    command
        .add_option("--guidance", request.guidance, "Classifier-free guidance; 1 switches it off")
        ->capture_default_str()
        ->check(CLI::Range(1.0, 100.0));
    command.add_option("--seed", request.seed, "The initial noise follows from it")
        ->capture_default_str()
        ->check(CLI::NonNegativeNumber);
    command.add_option("--clip-skip", request.clip_skip, "1 takes the text encoder's last layer")
        ->capture_default_str()
        ->check(CLI::Range(1, 12));
    command.add_option("--prediction", request.prediction, "What the UNet predicts")
        ->capture_default_str()
        ->check(CLI::IsMember({"auto", "epsilon", "v"}));
    command
        .add_option("--zero-snr", request.betas.zero_snr,
                    "Whether nothing of the picture is "
                    "left at the last timestep")
        ->capture_default_str()
        ->check(CLI::IsMember({"auto", "on", "off"}));
    command.add_option("--beta-schedule", request.betas.schedule, "The model's noise schedule")
        ->capture_default_str()
        ->check(CLI::IsMember({"auto", "scaled_linear", "linear", "squaredcos_cap_v2", "trained"}));
    command.add_option("--beta-start", request.betas.start, "Its first beta; 0 is the model's own")
        ->capture_default_str()
        ->check(CLI::Range(0.0, 0.999));
    command.add_option("--beta-end", request.betas.end, "Its last beta; 0 is the model's own")
        ->capture_default_str()
        ->check(CLI::Range(0.0, 0.999));
    command
        .add_option("--weights", request.weights,
                    "How weights are kept; int4 means the UNet's, the rest in int8")
        ->capture_default_str()
        ->check(CLI::IsMember(weight_type_names()));
    command.add_option("--compute", request.compute, "Type of the UNet's activations")
        ->capture_default_str()
        ->check(CLI::IsMember({"fp32", "bf16"}));
    command.add_option("--device", request.device, "Where the model runs")
        ->capture_default_str()
        ->check(CLI::IsMember({"cpu", "cuda"}));
    command
        .add_option("--threads", request.threads,
                    "Processor threads; 0 leaves the choice to "
                    "torch")
        ->capture_default_str()
        ->check(CLI::Range(0, 1024));
}

}  // namespace

void add_sample_command(CLI::App& app, Command& chosen) {
    auto options = std::make_shared<SampleOptions>();
    CLI::App* command =
        app.add_subcommand("sample", "Draw a picture, with learned words or without");
    add_render_options(*command, options->request);
    command->add_option("--out", options->out, "The picture to write, .png")->required();
    command->callback([options, &chosen] {
        chosen = [options](const CancelToken& cancel) { return sample(*options, cancel); };
    });
}

}  // namespace zoodip
