// The words that token files bring to a prompt.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "nn/family.h"
#include "words/captions.h"
#include "words/token_layout.h"

namespace zoodip {

struct PromptWords {
    std::vector<PlacedWord> placed;            // how prompts name them
    std::vector<std::filesystem::path> files;  // as many: where they are from
    TokenLayout layout;
    at::Tensor theta;  // float32 [1, d], their vectors one after another; [1, 0] without words
};

// Throws Error for a file that is no token for the model's text encoders, and for two with one
// word. Warns of what a file holds beside the word.
PromptWords read_prompt_words(const std::vector<std::filesystem::path>& files,
                              const Architecture& architecture);

// The text with the words in their places; "{sks}" stands for one, "{}" for the only one. what:
// "prompt", for messages. Warns of signs that other programs obey (pictures/prompt_signs.h). Throws
// Error for "{}" with several words.
PreparedText prepare_prompt(const std::string& text, const PromptWords& words, const char* what);

// Warns of every word that none of the texts has, saying what would place it.
void warn_of_unplaced(const PromptWords& words, const std::string& prompt,
                      const std::vector<PreparedText>& texts);

}  // namespace zoodip
