// Any bytes as a token file, and the word that it holds in a prompt, as sampling uses it.
#include "words/token_file.h"

#include <ATen/ops/isfinite.h>

#include "fuzz.h"
#include "memory_file.h"

#include "words/captions.h"

namespace zoodip::fuzz {
namespace {

void check_token(const TokenFile& token) {
    expect(!token.word.empty(), "a word has a name");
    expect(!token.vectors.empty(), "a word has vectors");
    for (const auto& [encoder, vectors] : token.vectors) {
        expect(vectors.dim() == 2 && vectors.numel() > 0 && vectors.scalar_type() == at::kFloat,
               "vectors are float32 [vectors, width]");
        expect(at::isfinite(vectors).all().item<bool>(), "vectors are finite");
    }
}

void use_in_prompt(const TokenFile& token) {
    const PlacedWord word{token.word, token.vectors.begin()->second.size(0)};
    const PreparedText text = prepare_text(clip_tokenizer(), token.word + " in a box", {word});
    expect(text.ids.sizes() == at::IntArrayRef({1, 77}), "a prompt has 77 ids");
}

}  // namespace
}  // namespace zoodip::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace zoodip;
    using namespace zoodip::fuzz;
    static MemoryFile file;
    file.fill(as_span(data, size));
    TokenFile token;
    if (!accepted([&] { token = read_token(file.path()); })) return 0;
    check_token(token);
    accepted([&] { use_in_prompt(token); });
    return 0;
}
