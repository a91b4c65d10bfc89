#include <chrono>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <thread>

#include "cli/commands.h"
#include "cli/usage.h"
#include "service/service.h"
#include "service/train_runner.h"

#include "core/log.h"

namespace zoodip {
namespace {

constexpr const char* token_variable = "ZOODIP_TOKEN";

struct ServeOptions {
    ServiceOptions service;
    ServerOptions server;
    std::filesystem::path token_file;
    int keep_days = 30;
    std::uint64_t keep_mb = 0;
};

// Never an argument: those can be read by everyone on the machine.
std::string bearer_token(const std::filesystem::path& file) {
    if (!file.empty()) return read_bearer_token(file);
    const char* variable = std::getenv(token_variable);
    if (variable == nullptr || *variable == '\0') return {};
    check_bearer_token(variable, token_variable);
    return variable;
}

int serve(const ServeOptions& options, const CancelToken& cancel) {
    ServiceOptions chosen = options.service;
    ServerOptions server = options.server;
    server.token = bearer_token(options.token_file);
    server.when_taken = "--port 0 takes any that is free";
    chosen.limits.kept_for = std::chrono::hours(24) * options.keep_days;
    chosen.limits.kept_bytes = options.keep_mb << 20;
    Service service(chosen, std::make_shared<TrainRunner>());
    service.serve(server);
    std::cout << "zoodip: serving on " << service.server()->url() << std::endl;
    while (!cancel.cancelled()) std::this_thread::sleep_for(std::chrono::milliseconds(50));
    log_info("ending; a running job goes on at the next start");
    return 0;
}

}  // namespace

void add_serve_command(CLI::App& app, Command& chosen) {
    auto options = std::make_shared<ServeOptions>();
    auto& service = options->service;
    CLI::App* command = app.add_subcommand(
        "serve", "Serve trainings to scripts on this machine by HTTP; /openapi.json says how");
    command->add_option("--models", service.models, "Folder of models; may be given several times")
        ->required()
        ->expected(1)
        ->take_all();
    command
        ->add_option("--images", service.images,
                     "Folder whose folders of pictures jobs can name; may be given several times")
        ->expected(1)
        ->take_all();
    command->add_option("--jobs", service.jobs, "Folder in which jobs are kept")->required();
    command->add_option("--port", options->server.port, "0 takes any that is free and prints it")
        ->capture_default_str()
        ->check(whole_number(0, 65535));
    command
        ->add_option("--host", options->server.host,
                     "Address to listen on; one that other machines reach needs a token")
        ->capture_default_str();
    command->add_option("--token-file", options->token_file,
                        concat("File with the token that every request must bear; ", token_variable,
                               " in the environment does as well"));
    command->add_option("--queue", service.limits.queued, "Jobs that may wait")
        ->capture_default_str()
        ->check(whole_number(1, 1000));
    command->add_option("--keep", service.limits.kept, "Ended jobs that are kept")
        ->capture_default_str()
        ->check(whole_number(0, 100000));
    command->add_option("--keep-days", options->keep_days, "For how long they are kept")
        ->capture_default_str()
        ->check(whole_number(0, 36500));
    command
        ->add_option("--keep-mb", options->keep_mb,
                     "Megabytes (2^20 bytes) that jobs may take before ended ones are forgotten; 0 "
                     "sets no limit")
        ->capture_default_str()
        ->check(whole_number(0, max_kept_mb));
    command->callback([options, &chosen] {
        chosen = [options](const CancelToken& cancel) { return serve(*options, cancel); };
    });
}

}  // namespace zoodip
