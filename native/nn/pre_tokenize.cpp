#include "nn/pre_tokenize.h"

#include <cstddef>
#include <string_view>
#include <utility>

namespace zoodip {

namespace {

class Splitter {
  public:
    explicit Splitter(const CodePoints& points) : points_(points) {}

    std::vector<Word> run() {
        while (at_ < points_.size()) step();
        return std::move(words_);
    }

  private:
    void step() {
        if (take_special() || take_contraction()) return;
        const CharacterClass kind = character_class(points_[at_]);
        switch (kind) {
            case CharacterClass::space:
                ++at_;
                break;
            case CharacterClass::number:  // each digit is a word
                take(1, kind);
                break;
            default:
                take(run_length(kind), kind);
        }
    }

    bool starts_with(std::string_view ascii) const {
        if (points_.size() - at_ < ascii.size()) return false;
        for (std::size_t i = 0; i < ascii.size(); ++i) {
            if (points_[at_ + i] != ascii[i]) return false;
        }
        return true;
    }

    bool take_special() {
        constexpr std::size_t mark = 2;  // the length of <| and of |>
        for (const std::string_view special : {"<|startoftext|>", "<|endoftext|>"}) {
            if (!starts_with(special)) continue;
            take(mark, CharacterClass::other);
            take(special.size() - 2 * mark, CharacterClass::letter);
            take(mark, CharacterClass::other);
            return true;
        }
        return false;
    }

    bool take_contraction() {
        for (const std::string_view ending : {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}) {
            if (!starts_with(ending)) continue;
            take(ending.size(), CharacterClass::other);
            return true;
        }
        return false;
    }

    std::size_t run_length(CharacterClass kind) const {
        std::size_t end = at_;
        while (end < points_.size() && character_class(points_[end]) == kind) ++end;
        return end - at_;
    }

    void take(std::size_t length, CharacterClass kind) {
        Word word{{}, kind};
        for (std::size_t i = 0; i < length; ++i) append_utf8(points_[at_ + i], word.text);
        words_.push_back(std::move(word));
        at_ += length;
    }

    const CodePoints& points_;
    std::size_t at_ = 0;
    std::vector<Word> words_;
};

}  // namespace

std::vector<Word> pre_tokenize(const CodePoints& points) {
    return Splitter(points).run();
}

}  // namespace zoodip
