#include <iostream>
#include <memory>

#include "cli/commands.h"
#include "cli/settings_page.h"

#include "settings/settings.h"

namespace zoodip {
namespace {

struct SettingsOptions {
    bool as_json = false, as_markdown = false;
};

int print_settings(const SettingsOptions& options) {
    if (options.as_json) {
        std::cout << describe_fields(train_setting_fields()).dump(2) << '\n';
    } else {
        std::cout << (options.as_markdown ? settings_markdown() : settings_text());
    }
    return 0;
}

}  // namespace

void add_settings_command(CLI::App& app, Command& chosen) {
    auto options = std::make_shared<SettingsOptions>();
    CLI::App* command =
        app.add_subcommand("settings", "List every setting: default, range, meaning");
    CLI::Option* as_json = command->add_flag("--json", options->as_json, "Print JSON");
    command->add_flag("--markdown", options->as_markdown, "Print the reference page")
        ->excludes(as_json);
    command->callback([options, &chosen] {
        chosen = [options](const CancelToken&) { return print_settings(*options); };
    });
}

}  // namespace zoodip
