// Any text as settings: as JSON, and line by line as NAME=VALUE, where a value may hold any bytes,
// as on a command line.
#include "settings/settings.h"

#include <algorithm>
#include <string>

#include "fuzz.h"

#include "core/json.h"

namespace zoodip::fuzz {
namespace {

nlohmann::json from_lines(std::string_view text) {
    nlohmann::json values = nlohmann::json::object();
    while (!text.empty()) {
        const std::string_view line = text.substr(0, text.find('\n'));
        text.remove_prefix(std::min(text.size(), line.size() + 1));
        const std::size_t sign = line.find('=');
        if (sign == std::string_view::npos) continue;
        const std::string_view value = line.substr(sign + 1);
        const nlohmann::json number = parse_json(value);
        values[std::string(line.substr(0, sign))] =
            number.is_discarded() ? nlohmann::json(std::string(value)) : number;
    }
    return values;
}

void check(const nlohmann::json& values) {
    TrainSettings settings;
    if (!accepted([&] { set_fields(settings, train_setting_fields(), values); })) return;
    const nlohmann::json all = get_fields(settings, train_setting_fields());
    for (const auto& [name, value] : values.items()) {
        expect(all.at(name) == value, "an accepted value is the one that is set");
    }
    TrainSettings again;
    set_fields(again, train_setting_fields(), parse_json(all.dump()));
    expect(get_fields(again, train_setting_fields()) == all, "settings survive being written");
    accepted([&] { result_settings(resolve_settings(values)).dump(); });
}

}  // namespace
}  // namespace zoodip::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace zoodip;
    using namespace zoodip::fuzz;
    const nlohmann::json values = parse_json(as_text(data, size));
    check(values.is_discarded() ? from_lines(as_text(data, size)) : values);
    return 0;
}
