#include <charconv>
#include <iostream>
#include <memory>
#include <random>
#include <string>

#include "cli/commands.h"
#include "cli/progress.h"
#include "cli/usage.h"

#include "io/outputs.h"
#include "objective/render.h"

namespace zoodip {
namespace {

struct SampleOptions {
    RenderRequest request;
    RenderNames names;
    std::filesystem::path out;
    std::string seed = "0";
    bool overwrite = false;
};

// The number in --seed. For -1 one of 32 bits, which other programs take as well.
std::uint64_t seed_of(const std::string& text) {
    if (text == "-1") return std::random_device()();
    std::uint64_t seed = 0;
    const char* end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data(), end, seed);
    require(parsed.ec == std::errc() && parsed.ptr == end,
            "seed: needs a whole number from 0 to 18446744073709551615, or -1 for a random one, ",
            "got '", text, "'");
    return seed;
}

std::vector<Input> inputs_of(const RenderRequest& request) {
    std::vector<Input> inputs = {{request.model, "the model"}};
    for (const auto& token : request.tokens) inputs.push_back({token, "a token of the prompt"});
    return inputs;
}

int sample(const SampleOptions& options, const CancelToken& cancel) {
    require(options.out.extension() == ".png", "out: '", options.out.string(),
            "' needs the ending .png");
    const std::uint64_t seed = seed_of(options.seed);
    const auto held = hold_output("zoodip sample", inputs_of(options.request), options.out,
                                  options.overwrite, options.out);
    ProgressLine line;
    RenderRequest request = options.request;
    request.seed = seed;
    options.names.put_into(request);
    if (options.seed == "-1") line.note(concat("seed ", request.seed));
    line.note("loading ...");
    const Picture picture = render(
        request, [&](std::int64_t done, std::int64_t total) { line.show(done, total, ""); },
        cancel);
    write_png(options.out, picture);
    std::cerr << "done: " << options.out.string() << '\n';
    return 0;
}

void add_render_options(CLI::App& command, RenderRequest& request, RenderNames& names) {
    command.add_option("--model", request.model, "Checkpoint (.safetensors) or diffusers folder")
        ->required();
    command.add_option("--prompt", request.prompt, "What to draw")->required();
    command.add_option("--negative", request.negative, "What to keep away from");
    command.add_option("--token", request.tokens,
                       "Token file of a word in the prompt; may be given "
                       "several times. {} in the prompt stands for the only one");
    command.add_option("--width", request.width, "Pixels; 0 takes what the model was made for")
        ->capture_default_str()
        ->check(whole_number(0, 4096));
    command.add_option("--height", request.height, "Pixels; 0 takes what the model was made for")
        ->capture_default_str()
        ->check(whole_number(0, 4096));
    command.add_option("--steps", request.steps, "DPM-Solver++(2M) steps")
        ->capture_default_str()
        ->check(whole_number(1, 999));
    command
        .add_option("--guidance", request.guidance, "Classifier-free guidance; 1 switches it off")
        ->capture_default_str()
        ->check(number(1, 100));
    command.add_option("--clip-skip", request.clip_skip, "1 takes the text encoder's last layer")
        ->capture_default_str()
        ->check(whole_number(1, 12));
    command.add_option("--prediction", names.prediction, "What the UNet predicts")
        ->capture_default_str()
        ->check(CLI::IsMember(names_in(open_prediction_names())));
    command
        .add_option("--zero-snr", names.zero_snr,
                    "Whether nothing of the picture is "
                    "left at the last timestep")
        ->capture_default_str()
        ->check(CLI::IsMember(names_in(on_off_names())));
    command.add_option("--beta-schedule", names.beta_schedule, "The model's noise schedule")
        ->capture_default_str()
        ->check(CLI::IsMember(names_in(open_beta_kind_names())));
    command.add_option("--beta-start", request.betas.start, "Its first beta; 0 is the model's own")
        ->capture_default_str()
        ->check(CLI::Range(0.0, 0.999));
    command.add_option("--beta-end", request.betas.end, "Its last beta; 0 is the model's own")
        ->capture_default_str()
        ->check(CLI::Range(0.0, 0.999));
    command
        .add_option("--weights", names.weights,
                    "How weights are kept; int4 means the UNet's, the rest in int8")
        ->capture_default_str()
        ->check(CLI::IsMember(names_in(weight_type_names())));
    command.add_option("--compute", names.compute, "Type of the UNet's activations")
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
        ->check(whole_number(0, 1024));
}

}  // namespace

void add_sample_command(CLI::App& app, Command& chosen) {
    auto options = std::make_shared<SampleOptions>();
    CLI::App* command =
        app.add_subcommand("sample", "Draw a picture, with learned words or without");
    add_render_options(*command, options->request, options->names);
    command
        ->add_option("--seed", options->seed,
                     "The initial noise follows from it, 0 to 18446744073709551615; -1 draws one "
                     "and says which")
        ->capture_default_str();
    command->add_option("--out", options->out, "The picture to write, .png")->required();
    command->add_flag("--overwrite", options->overwrite, "Replace an earlier --out");
    command->callback([options, &chosen] {
        chosen = [options](const CancelToken& cancel) { return sample(*options, cancel); };
    });
}

}  // namespace zoodip
