// What the targets of the server share: it refuses with HttpError and with nothing else.
#pragma once

#include <initializer_list>
#include <string_view>

#include "fuzz.h"

#include "core/json.h"
#include "server/http_error.h"

namespace zoodip::fuzz {

// Whether `work` went through; false when it was refused with one of these statuses.
template <class Work>
bool taken(std::initializer_list<int> refusals, Work&& work) {
    try {
        work();
        return true;
    } catch (const HttpError& error) {
        bool known = false;
        for (const int status : refusals) known |= status == error.status();
        expect(known, "the status is one of those that are documented");
        expect(std::string_view(title_of(error.status())) != "Unknown", "a status has a title");
        expect(parse_json(problem_json(error)).is_object(), "a refusal can be shown");
        return false;
    }
}

}  // namespace zoodip::fuzz
