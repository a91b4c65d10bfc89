#include <iostream>
#include <memory>

#include "cli/commands.h"

#include "reports/token_convert.h"
#include "reports/token_description.h"

namespace zoodip {
namespace {

struct InfoOptions {
    std::filesystem::path file;
    bool as_json = false;
};

struct ConvertOptions {
    TokenConversion conversion;
    std::string to;
};

int info(const InfoOptions& options) {
    const TokenDescription token = describe_token(read_nameless_token(options.file));
    std::cout << (options.as_json ? to_json(token).dump(2) + '\n' : to_text(token));
    return 0;
}

int convert(const ConvertOptions& options) {
    TokenConversion conversion = options.conversion;
    conversion.to = parse_token_format(options.to);
    convert_token(conversion);
    std::cerr << "done: " << conversion.out.string() << '\n';
    return 0;
}

void add_info(CLI::App& app, Command& chosen) {
    auto options = std::make_shared<InfoOptions>();
    CLI::App* command = app.add_subcommand("info", "Say what a token is and how it was made");
    command->add_option("file", options->file, "Token file (.safetensors), of any program")
        ->required();
    command->add_flag("--json", options->as_json, "Print JSON");
    command->callback(
        [options, &chosen] { chosen = [options](const CancelToken&) { return info(*options); }; });
}

void add_convert(CLI::App& app, Command& chosen) {
    auto options = std::make_shared<ConvertOptions>();
    TokenConversion& conversion = options->conversion;
    CLI::App* command = app.add_subcommand("convert", "Write a token as another program reads it");
    command->add_option("file", conversion.in, "Token file (.safetensors), of any program")
        ->required();
    command
        ->add_option("--to", options->to,
                     "comfyui: clip_l, clip_g, clip_h, as zoodip writes it; a1111: emb_params; "
                     "diffusers: the word. Two encoders are clip_l and clip_g in all of them")
        ->required()
        ->type_name("comfyui|a1111|diffusers");
    command->add_option("--out", conversion.out, "The token file to write, .safetensors")
        ->required();
    command->add_option("--word", conversion.word,
                        "What to call it; the file's own word without. ComfyUI and A1111 go by "
                        "the name of the file");
    command->add_flag("--overwrite", conversion.overwrite, "Replace an earlier --out");
    command->callback([options, &chosen] {
        chosen = [options](const CancelToken&) { return convert(*options); };
    });
}

}  // namespace

void add_token_command(CLI::App& app, Command& chosen) {
    CLI::App* command =
        app.add_subcommand("token", "Say what a token file is, or convert it for other programs");
    command->require_subcommand(1);
    add_info(*command, chosen);
    add_convert(*command, chosen);
}

}  // namespace zoodip
