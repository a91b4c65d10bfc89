#include "words/word.h"

#include <algorithm>
#include <cctype>

#include "core/error.h"

namespace zoodip {
namespace {

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

bool is_allowed(char c) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    return letter || is_digit(c) || c == '_' || c == '.' || c == '-';
}

// Moves `at` behind digits, which single underscores may stand between. False for none.
bool skip_digits(const std::string& text, std::size_t& at) {
    const std::size_t start = at;
    while (at < text.size() && is_digit(text[at])) {
        ++at;
        if (at + 1 < text.size() && text[at] == '_' && is_digit(text[at + 1])) ++at;
    }
    return at > start;
}

bool skip(const std::string& text, std::size_t& at, char c) {
    if (at >= text.size() || text[at] != c) return false;
    ++at;
    return true;
}

// What Python's float() reads, by which the host tells weights: "1e5" and "nan" too.
bool reads_as_number(std::string text) {
    for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    if (!text.empty() && text.front() == '-') text.erase(0, 1);
    if (text == "nan" || text == "inf" || text == "infinity") return true;
    std::size_t at = 0;
    const bool whole = skip_digits(text, at);
    const bool fraction = skip(text, at, '.') && skip_digits(text, at);
    if (!whole && !fraction) return false;
    if (skip(text, at, 'e')) {
        skip(text, at, '-');
        if (!skip_digits(text, at)) return false;
    }
    return at == text.size();
}

}  // namespace

bool can_be_word(const std::string& word) {
    return std::all_of(word.begin(), word.end(), is_allowed) &&
           word.find_first_not_of("0123456789.-") != std::string::npos && !reads_as_number(word);
}

void check_word(const std::string& word) {
    require(can_be_word(word), "word: '", word,
            "' cannot name the new token. Use letters, digits, '_', '.' or '-', ",
            "and not a number; for example sks");
}

}  // namespace zoodip
