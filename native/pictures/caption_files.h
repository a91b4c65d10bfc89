// The captions that lie beside pictures.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "pictures/folder_listing.h"
#include "pictures/metadata_rows.h"

namespace zoodip {

struct FoundCaption {
    std::string text = {};    // one line; empty for none
    std::string source = {};  // the file that has it
};

// The text files and metadata.jsonl of one folder: which of them is a picture's caption, and which
// of them no picture wanted.
class CaptionFiles {
  public:
    // place: before names in messages: "" or "10_sks dog/". above: those of the folder that this
    // one lies in, whose metadata.jsonl may speak of its pictures; it must outlive this. nullptr
    // for none. Throws Error for a metadata.jsonl that cannot be read.
    CaptionFiles(const FolderListing& listing, std::string place, CaptionFiles* above);

    // Throws Error for a caption that cannot be read.
    FoundCaption caption_of(const FolderEntry& picture);

    // After all pictures were asked for: what was not used, and the files that may be.
    std::vector<LeftOut> unused() const;
    std::vector<std::filesystem::path> candidates() const;

  private:
    struct TextFile {
        FolderEntry entry;
        bool wanted = false, used = false;  // a picture is called so; it is that picture's caption
        std::string why = "no picture is called so";  // it is not used
    };

    std::vector<TextFile*> called(const std::string& name);
    FoundCaption in_text_file(const FolderEntry& picture);
    FoundCaption in_metadata(const FolderEntry& picture);

    std::string place_;
    CaptionFiles* above_;
    std::vector<TextFile> texts_;
    std::map<std::string, std::vector<std::size_t>> by_key_;  // of a text's name -> texts_
    MetadataRows rows_;
    std::size_t outdone_rows_ = 0;  // by text files
};

}  // namespace zoodip
