#include "pictures/prompt_signs.h"

#include <algorithm>
#include <cstddef>
#include <string_view>
#include <utility>

#include "core/ascii.h"
#include "core/error.h"
#include "pictures/caption_text.h"

namespace zoodip {
namespace {

constexpr std::size_t shown = 4;
constexpr std::size_t longest = 400;  // of a sign, in bytes: what is opened for longer is no sign

bool is_part_of_word(char c) {
    return is_alphanumeric(c) || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}

bool is_number(std::string_view text) {
    const std::string_view trimmed = trim_blanks(text);
    return !trimmed.empty() && trimmed.find_first_not_of("0123456789.+-") == std::string_view::npos;
}

class Scanner {
  public:
    Scanner(std::string_view text, bool is_prompt)
        : text_(text),
          is_prompt_(is_prompt),
          shouts_(std::none_of(text.begin(), text.end(),
                               [](char c) { return c >= 'a' && c <= 'z'; })) {}

    std::vector<std::string> run() {
        for (at_ = 0; at_ < text_.size();) at_ += std::max<std::size_t>(step(), 1);
        return std::move(signs_);
    }

  private:
    // Looks for a sign that begins here; how many bytes it has, 0 for none.
    std::size_t step() {
        switch (text_[at_]) {
            case '\\':
                return is_escape() ? add(2) : 0;
            case '(':
                return bracket(')');
            case '[':
                return bracket(']');
            case '{':
                return bracket('}');
            case '<':
                return angle();
            default:
                return named();
        }
    }

    bool is_escape() const {
        return at_ + 1 < text_.size() &&
               std::string_view("()[]{}").find(text_[at_ + 1]) != std::string_view::npos;
    }

    std::size_t add(std::size_t length) {
        std::string sign = shortened(std::string(text_.substr(at_, length)));
        if (std::find(signs_.begin(), signs_.end(), sign) == signs_.end()) {
            signs_.push_back(std::move(sign));
        }
        return length;
    }

    // The bracket that closes the one here, with those between in pairs; npos for none.
    std::size_t closing(char close) const {
        std::size_t depth = 0;
        for (std::size_t i = at_; i < std::min(text_.size(), at_ + longest); ++i) {
            if (text_[i] == text_[at_]) ++depth;
            if (text_[i] == close && --depth == 0) return i;
        }
        return std::string_view::npos;
    }

    std::size_t bracket(char close) {
        const std::size_t end = closing(close);
        if (end == std::string_view::npos) return 0;
        const std::string_view inside = text_.substr(at_ + 1, end - at_ - 1);
        const std::size_t colon = inside.rfind(':');
        const bool weighs = colon != std::string_view::npos && is_number(inside.substr(colon + 1));
        const bool chooses = close != ')' && inside.find('|') != std::string_view::npos;
        const bool plain = is_prompt_ && !inside.empty();
        return weighs || chooses || plain ? add(end - at_ + 1) : 0;
    }

    // <lora:name:1>, <sks>
    std::size_t angle() {
        const std::string_view near = text_.substr(at_, longest);
        const std::size_t end = near.find('>');
        if (end == std::string_view::npos || end == 1) return 0;
        const std::string_view inside = near.substr(1, end - 1);
        return inside.find_first_of(" <") == std::string_view::npos ? add(end + 1) : 0;
    }

    bool begins_word() const { return at_ == 0 || !is_part_of_word(text_[at_ - 1]); }

    bool stands_alone(std::string_view word) const {
        const std::size_t end = at_ + word.size();
        return text_.substr(at_, word.size()) == word && begins_word() &&
               (end == text_.size() || !is_part_of_word(text_[end]));
    }

    std::size_t named() {
        constexpr std::string_view embedding = "embedding:";
        for (const std::string_view word : {"BREAK", "AND"}) {
            if (stands_alone(word) && !shouts_) return add(word.size());
        }
        if (lower_ascii(text_.substr(at_, embedding.size())) == embedding && begins_word()) {
            return add(embedding.size());
        }
        return wildcard();
    }

    std::size_t wildcard() {  // __animal__
        if (text_.substr(at_, 2) != "__" || !begins_word()) return 0;
        const std::string_view near = text_.substr(at_, longest);
        const std::size_t end = near.find("__", 2);
        if (end == std::string_view::npos || end == 2) return 0;
        return near.substr(2, end - 2).find(' ') == std::string_view::npos ? add(end + 2) : 0;
    }

    std::string_view text_;
    bool is_prompt_;
    bool shouts_;  // a text without small letters, in which AND in capitals is an ordinary one
    std::size_t at_ = 0;
    std::vector<std::string> signs_;
};

}  // namespace

std::vector<std::string> unread_signs(const std::string& text, bool is_prompt) {
    return Scanner(text, is_prompt).run();
}

std::string signs_text(const std::vector<std::string>& signs) {
    if (signs.empty()) return {};
    std::string list;
    for (std::size_t i = 0; i < std::min(signs.size(), shown); ++i) {
        list += (i > 0 ? ", " : "") + signs[i];
    }
    if (signs.size() > shown) list += concat(" and ", signs.size() - shown, " more");
    return concat(list, signs.size() == 1 ? " is" : " are", " read as ",
                  signs.size() == 1 ? "it stands" : "they stand",
                  ": there are no weights, choices, breaks or names of files here. Write the plain "
                  "words");
}

}  // namespace zoodip
