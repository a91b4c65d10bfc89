#include "nn/byte_pair.h"

#include <cstddef>
#include <functional>
#include <queue>
#include <utility>

#include "core/error.h"
#include "nn/text_normalize.h"

namespace zoodip {

namespace {

constexpr std::int32_t byte_count = 256;
constexpr std::string_view word_end = "</w>";

// Bytes that the alphabet writes as the Latin-1 character of the same number. They come first;
// the others follow and are written U+0100, U+0101, ...
bool is_printable(std::int32_t byte) {
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 255 && byte != 173);
}

// The bytes in the order of their ids.
std::vector<std::int32_t> alphabet_order() {
    std::vector<std::int32_t> order;
    for (const bool printable : {true, false}) {
        for (std::int32_t byte = 0; byte < byte_count; ++byte) {
            if (is_printable(byte) == printable) order.push_back(byte);
        }
    }
    return order;
}

std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
    return static_cast<std::uint64_t>(left) << 32 | static_cast<std::uint32_t>(right);
}

using SymbolTable = std::unordered_map<std::string, std::int32_t>;  // as the merges spell them

SymbolTable alphabet_symbols(const std::vector<std::int32_t>& order) {
    SymbolTable symbols;
    std::int32_t id = 0;
    std::int32_t next_character = byte_count;
    for (const std::int32_t byte : order) {
        std::string symbol;
        append_utf8(is_printable(byte) ? byte : next_character++, symbol);
        symbols.emplace(symbol, id);
        symbols.emplace(symbol + std::string(word_end), id + byte_count);
        ++id;
    }
    return symbols;
}

// Cuts the first line off `text`, without its line end.
std::string_view take_line(std::string_view& text) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(line.size() < text.size() ? line.size() + 1 : line.size());
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    return line;
}

// A word on its way: a doubly linked list of symbols in arrays, the pairs that can merge in a heap.
class WordMerger {
  public:
    WordMerger(const BytePair& model, std::vector<std::int32_t> symbols)
        : model_(model), symbols_(std::move(symbols)) {
        const std::size_t count = symbols_.size();
        for (std::size_t i = 0; i < count; ++i) {
            next_.push_back(i + 1 < count ? i + 1 : none);
            previous_.push_back(i > 0 ? i - 1 : none);
        }
        for (std::size_t i = 0; i + 1 < count; ++i) offer(i);
    }

    void run(std::vector<std::int64_t>& ids) {
        while (!candidates_.empty()) {
            const auto [id, left] = candidates_.top();
            candidates_.pop();
            if (pair_at(left) == id) merge(left, id);
        }
        // The first symbol only ever swallows its right neighbours, so it stays the head.
        for (std::size_t i = 0; i != none; i = next_[i]) ids.push_back(symbols_[i]);
    }

  private:
    static constexpr std::size_t none = static_cast<std::size_t>(-1);
    static constexpr std::int32_t dead = -1;  // a symbol that its left neighbour swallowed

    std::optional<std::int32_t> pair_at(std::size_t left) const {
        if (symbols_[left] == dead || next_[left] == none) return std::nullopt;
        return model_.merged(symbols_[left], symbols_[next_[left]]);
    }

    void offer(std::size_t left) {
        if (const auto id = pair_at(left)) candidates_.emplace(*id, left);
    }

    void merge(std::size_t left, std::int32_t id) {
        const std::size_t right = next_[left];
        symbols_[left] = id;
        symbols_[right] = dead;
        next_[left] = next_[right];
        if (next_[left] != none) previous_[next_[left]] = left;
        if (previous_[left] != none) offer(previous_[left]);
        offer(left);
    }

    using Candidate = std::pair<std::int32_t, std::size_t>;  // (merged id, left): best id, leftmost

    const BytePair& model_;
    std::vector<std::int32_t> symbols_;
    std::vector<std::size_t> next_, previous_;
    std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> candidates_;
};

}  // namespace

BytePair::BytePair(std::string_view merges) : byte_ids_(byte_count) {
    const auto order = alphabet_order();
    SymbolTable symbols = alphabet_symbols(order);
    for (std::size_t copy = 0; copy < 2; ++copy) {
        for (const std::int32_t byte : order) bytes_.emplace_back(1, static_cast<char>(byte));
    }
    for (std::int32_t id = 0; id < byte_count; ++id) {
        byte_ids_[static_cast<std::size_t>(order[static_cast<std::size_t>(id)])] = id;
    }
    for (std::size_t number = 1; !merges.empty(); ++number) {
        const std::string line(take_line(merges));
        const std::size_t space = line.find(' ');
        require(space != std::string::npos, "byte pairs: line ", number, " is '", line,
                "'; expected two symbols with a space between them");
        const std::string names[] = {line.substr(0, space), line.substr(space + 1)};
        for (const std::string& name : names) {
            require(symbols.count(name) == 1, "byte pairs: line ", number, " is '", line, "'; '",
                    name, "' is made by no line before it");
        }
        const std::int32_t left = symbols[names[0]], right = symbols[names[1]];
        const auto id = static_cast<std::int32_t>(bytes_.size());
        require(!names[0].ends_with(word_end) && symbols.emplace(names[0] + names[1], id).second,
                "byte pairs: line ", number, " is '", line,
                "'; it goes on after the end of a word or makes a symbol for the second time");
        bytes_.push_back(bytes(left) + bytes(right));
        merges_.emplace(pair_key(left, right), id);
    }
}

std::optional<std::int32_t> BytePair::merged(std::int32_t left, std::int32_t right) const {
    const auto found = merges_.find(pair_key(left, right));
    if (found == merges_.end()) return std::nullopt;
    return found->second;
}

void BytePair::encode(std::string_view word, std::vector<std::int64_t>& ids) const {
    require(!word.empty(), "byte pairs: the word to encode is empty");
    std::vector<std::int32_t> symbols;
    symbols.reserve(word.size());
    for (const char byte : word) symbols.push_back(byte_ids_[static_cast<unsigned char>(byte)]);
    symbols.back() += byte_count;  // the same byte as the end of a word
    WordMerger(*this, std::move(symbols)).run(ids);
}

}  // namespace zoodip
