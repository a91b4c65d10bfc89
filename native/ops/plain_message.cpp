#include "ops/plain_message.h"

#include <new>
#include <string_view>
#include <system_error>

#include <c10/util/Exception.h>

#include "core/error.h"

namespace zoodip {
namespace {

// How torch's allocators and oneDNN, which cannot write its code anywhere then, say it.
bool says_no_memory(std::string_view text) {
    for (const char* sign :
         {"can't allocate memory", "not enough memory", "out of memory", "could not create a",
          "could not generate a kernel", "could not execute a primitive", "Cannot allocate memory",
          "std::bad_alloc"}) {
        if (text.find(sign) != std::string_view::npos) return true;
    }
    return false;
}

std::string first_line(std::string_view text) {
    return std::string(text.substr(0, text.find('\n')));
}

}  // namespace

bool is_want_of_memory(const std::exception& error) noexcept {
    return dynamic_cast<const std::bad_alloc*>(&error) != nullptr || says_no_memory(error.what());
}

std::string plain_message(const std::exception& error) {
    if (dynamic_cast<const Error*>(&error) != nullptr) return error.what();
    if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) return no_memory;
    std::string text = error.what();
    if (const auto* torch = dynamic_cast<const c10::Error*>(&error)) {
        text = torch->what_without_backtrace();
    }
    if (says_no_memory(text)) return concat(no_memory, " (", first_line(text), ")");
    if (const auto* system = dynamic_cast<const std::system_error*>(&error)) {
        const bool no_thread = system->code() == std::errc::resource_unavailable_try_again;
        if (no_thread) return "the system gives no more threads. `threads 1` needs none";
    }
    return text;
}

}  // namespace zoodip
