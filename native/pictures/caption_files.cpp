#include "pictures/caption_files.h"

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "pictures/caption_text.h"
#include "pictures/named_file.h"

namespace zoodip {
namespace {

constexpr std::size_t max_caption_bytes = 64u << 10;

// In order of precedence.
std::vector<std::string> names_of_captions(const std::string& picture) {
    const std::string stem = picture.substr(0, picture.find_last_of('.'));
    return {stem + ".txt", stem + ".caption", picture + ".txt", picture + ".caption"};
}

}  // namespace

CaptionFiles::CaptionFiles(const FolderListing& listing, std::string place, CaptionFiles* above)
    : place_(std::move(place)), above_(above) {
    for (const FolderEntry& text : listing.texts) {
        by_key_[text.key].push_back(texts_.size());
        texts_.push_back({text});
    }
    if (!listing.metadata.empty()) rows_ = MetadataRows(listing.metadata.front().path, place_);
}

// Those whose names match; one of the very name first.
std::vector<CaptionFiles::TextFile*> CaptionFiles::called(const std::string& name) {
    std::vector<TextFile*> found;
    const auto matching = by_key_.find(match_key(name));
    if (matching == by_key_.end()) return found;
    for (const std::size_t i : matching->second) found.push_back(&texts_[i]);
    std::stable_partition(found.begin(), found.end(),
                          [&](const TextFile* text) { return text->entry.name == name; });
    return found;
}

FoundCaption CaptionFiles::in_text_file(const FolderEntry& picture) {
    FoundCaption found;
    for (const std::string& name : names_of_captions(picture.name)) {
        for (TextFile* text : called(name)) {
            text->wanted = true;
            if (!found.text.empty()) {
                text->why = concat(picture.name, " has its caption from ", found.source);
                continue;
            }
            const std::string shown = place_ + text->entry.name;
            found.text = tidy_caption(
                decode_text(read_named_file(text->entry.path, shown, max_caption_bytes), shown));
            if (found.text.empty()) {
                text->why = "empty";
            } else {
                text->used = true;
                found.source = shown;
            }
        }
    }
    return found;
}

FoundCaption CaptionFiles::in_metadata(const FolderEntry& picture) {
    if (const auto* row = rows_.find(picture.name)) return {row->text, place_ + "metadata.jsonl"};
    if (above_ == nullptr) return {};
    const auto* row = above_->rows_.find(place_ + picture.name);
    return row == nullptr ? FoundCaption() : FoundCaption{row->text, "metadata.jsonl"};
}

FoundCaption CaptionFiles::caption_of(const FolderEntry& picture) {
    FoundCaption found = in_text_file(picture);
    FoundCaption other = in_metadata(picture);
    if (found.text.empty()) return other;
    if (!other.text.empty()) ++outdone_rows_;
    return found;
}

std::vector<std::filesystem::path> CaptionFiles::candidates() const {
    std::vector<std::filesystem::path> files;
    for (const TextFile& text : texts_) {
        if (text.wanted) files.push_back(text.entry.path);
    }
    return files;
}

std::vector<LeftOut> CaptionFiles::unused() const {
    std::vector<LeftOut> out;
    for (const TextFile& text : texts_) {
        if (!text.used) out.push_back({place_ + text.entry.name, text.why});
    }
    for (LeftOut& row : rows_.unused()) out.push_back(std::move(row));
    if (outdone_rows_ > 0) {
        out.push_back({concat(outdone_rows_, " captions of metadata.jsonl"),
                       "those pictures have text files"});
    }
    return out;
}

}  // namespace zoodip
