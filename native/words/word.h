// What can be a word in prompts and in file names.
#pragma once

#include <string>

namespace zoodip {

// [A-Za-z0-9_.-]+, and not a number: the host's prompt syntax takes those for weights.
bool can_be_word(const std::string& word);

// Throws Error unless can_be_word.
void check_word(const std::string& word);

}  // namespace zoodip
