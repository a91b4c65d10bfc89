// Signs that other programs obey in prompts and that are plain text here.
#pragma once

#include <string>
#include <vector>

namespace zoodip {

// Those in a text, as they stand there, each once: "(sks:1.3)", "[a:b:0.5]", "{a|b}", "<lora:x:1>",
// "<sks>", "embedding:", "BREAK", "AND", "__name__", "\(". In a prompt also "(x)", "((x))", "[x]"
// and "{x}", which weigh words in other programs; in a caption those are brackets.
std::vector<std::string> unread_signs(const std::string& text, bool is_prompt);

// "(sks:1.3) and BREAK are read as they stand: ..."; empty for no signs.
std::string signs_text(const std::vector<std::string>& signs);

}  // namespace zoodip
