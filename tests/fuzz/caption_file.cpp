// Any bytes as NAME.txt and as metadata.jsonl, and what they say as a caption.
#include <string>

#include "fuzz.h"
#include "memory_file.h"

#include "nn/text_normalize.h"
#include "nn/word_edges.h"
#include "pictures/caption_text.h"
#include "pictures/folder_listing.h"
#include "pictures/metadata_rows.h"
#include "pictures/prompt_signs.h"

namespace zoodip::fuzz {
namespace {

void check_caption(const std::string& caption) {
    expect(valid_utf8_length(caption) == caption.size(), "a caption is UTF-8");
    expect(tidy_caption(caption) == caption, "a tidy caption stays as it is");
    expect(valid_utf8_length(shortened(caption)) == shortened(caption).size(),
           "a cut lies between characters");
    std::size_t behind = 0;
    for (const FoundWord& found : find_words(caption, {"sks", "a"})) {
        expect(found.begin >= behind && found.end > found.begin && found.end <= caption.size(),
               "words are found in order and apart");
        behind = found.end;
    }
    signs_text(unread_signs(caption, /*is_prompt=*/true));
    signs_text(unread_signs(caption, /*is_prompt=*/false));
}

void check_metadata(std::span<const std::byte> bytes) {
    static MemoryFile file;
    file.fill(bytes);
    accepted([&] {
        MetadataRows rows(file.path(), "");
        if (auto* row = rows.find("a.png")) check_caption(row->text);
        rows.unused();
    });
}

}  // namespace
}  // namespace zoodip::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace zoodip;
    using namespace zoodip::fuzz;
    const std::span<const std::byte> bytes = as_span(data, size);
    accepted([&] { check_caption(tidy_caption(decode_text(bytes, "a.txt"))); });
    match_key(std::string(as_text(data, size)));
    check_metadata(bytes);
    return 0;
}
