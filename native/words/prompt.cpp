#include "words/prompt.h"

#include <algorithm>

#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>

#include "core/ascii.h"
#include "core/error.h"
#include "core/log.h"
#include "nn/word_edges.h"
#include "pictures/prompt_signs.h"
#include "words/token_file.h"
#include "words/word.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;

void require_new(const PromptWords& words, const std::string& word, const fs::path& file) {
    for (std::size_t i = 0; i < words.placed.size(); ++i) {
        const std::string& other = words.placed[i].word;
        require(lower_ascii(other) != lower_ascii(word), "token: ", words.files[i].string(),
                " and ", file.string(), " both bring the word '", word,
                "'. Leave one out, or give it another: zoodip token convert ", file.string(),
                " --to comfyui --word ", word, "2 --out ", word, "2.safetensors");
    }
}

std::string listed(const std::vector<PlacedWord>& words) {
    std::string list;
    for (const PlacedWord& word : words) list += (list.empty() ? "" : ", ") + word.word;
    return list;
}

// A file that was renamed, named in the prompt as ComfyUI and A1111 would have it.
std::string hint(const fs::path& file, const std::string& prompt) {
    const std::string stem = file.stem().string();
    if (!can_be_word(stem) || find_words(prompt, {stem}).empty()) return {};
    return concat(" ('", stem, "' is the name of the file, not its word)");
}

}  // namespace

PromptWords read_prompt_words(const std::vector<fs::path>& files,
                              const Architecture& architecture) {
    PromptWords words;
    std::vector<at::Tensor> parts;
    for (const fs::path& file : files) {
        const TokenFile token = read_token(file);
        const std::vector<at::Tensor> vectors = vectors_for(token, file, architecture);
        require_new(words, token.word, file);
        warn_of_others(token, file);
        words.placed.push_back({token.word, vectors.front().size(0)});
        words.files.push_back(file);
        for (std::size_t i = 0; i < vectors.size(); ++i) {
            words.layout.add(token.word, architecture.encoders[i].key, vectors[i].size(0),
                             vectors[i].size(1));
            parts.push_back(vectors[i].reshape({-1}));
        }
    }
    words.theta = parts.empty() ? at::zeros({1, 0}) : at::cat(parts).unsqueeze(0);
    return words;
}

PreparedText prepare_prompt(const std::string& text, const PromptWords& words, const char* what) {
    const std::string placed = fill_braces(text, words.placed);
    if (text.find("{}") != std::string::npos) {
        const std::size_t count = words.placed.size();
        require(count <= 1, what, ": {} stands for the word, and the tokens bring ", count, " (",
                listed(words.placed), "). Write the one that is meant");
        if (count == 0) {
            log_warning(what,
                        ": {} stands for the word of a token, and none was given: it is read "
                        "as it stands");
        }
    }
    const std::string signs = signs_text(unread_signs(placed, /*is_prompt=*/true));
    if (!signs.empty()) log_warning(what, ": ", signs);
    try {
        return prepare_text(clip_tokenizer(), placed, words.placed);
    } catch (const Error& error) {
        fail(what, ": ", error.what());
    }
}

void warn_of_unplaced(const PromptWords& words, const std::string& prompt,
                      const std::vector<PreparedText>& texts) {
    for (std::size_t i = 0; i < words.placed.size(); ++i) {
        const bool placed = std::any_of(texts.begin(), texts.end(), [&](const PreparedText& text) {
            return has_word(text, i);
        });
        if (placed) continue;
        const std::string& word = words.placed[i].word;
        log_warning("the prompt does not hold '", word, "', the word of ", words.files[i].string(),
                    hint(words.files[i], prompt), ", and the picture is drawn without it. Write ",
                    word, words.placed.size() == 1 ? " or {}" : "", " where the subject is named");
    }
}

}  // namespace zoodip
