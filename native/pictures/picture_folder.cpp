#include "pictures/picture_folder.h"

#include <algorithm>
#include <iterator>
#include <numeric>
#include <optional>
#include <system_error>
#include <utility>

#include "core/error.h"
#include "io/picture_names.h"
#include "pictures/caption_files.h"
#include "pictures/folder_listing.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;

std::string counted(std::size_t count, const char* what) {
    return concat(count, " ", what, count == 1 ? "" : "s");
}

class Reader {
  public:
    explicit Reader(const fs::path& root)
        : listing_(list_folder(root)), captions_(listing_, "", nullptr) {}

    PictureFolder run() {
        take(listing_, captions_, "", {});
        for (const FolderEntry& folder : listing_.folders) take_folder(folder);
        add(captions_.unused());
        return std::move(out_);
    }

  private:
    void take_folder(const FolderEntry& folder) {
        const auto named = read_folder_name(folder.name);
        if (named && named->repeats > 0) {
            take_named_folder(folder, *named);
        } else {
            pass_over(folder,
                      named ? "0 repeats" : "of folders, those called as 10_sks dog are read",
                      /*expected=*/named.has_value());
        }
    }

    void take_named_folder(const FolderEntry& folder, const NamedFolder& named) {
        const FolderListing inside = list_folder(folder.path);
        const std::string place = folder.name + "/";
        if (inside.pictures.empty()) out_.left_out.push_back({place, "no pictures in it"});
        CaptionFiles captions(inside, place, &captions_);
        take(inside, captions, place, named);
        add(captions.unused());
        for (const FolderEntry& deeper : inside.folders) {
            pass_over({deeper.path, place + deeper.name, ""}, "a folder deeper down", true);
        }
    }

    // Folders without pictures are nobody's loss.
    void pass_over(const FolderEntry& folder, const char* why, bool expected) {
        try {
            const std::size_t count = list_folder(folder.path).pictures.size();
            if (count == 0) return;
            out_.left_out.push_back(
                {concat(folder.name, "/ with ", counted(count, "picture")), why, expected});
        } catch (const Error&) {
            out_.left_out.push_back({folder.name + "/", "it cannot be listed", /*expected=*/false});
        }
    }

    void take(const FolderListing& listing, CaptionFiles& captions, const std::string& place,
              const NamedFolder& named) {
        for (const FolderEntry& entry : listing.pictures) {
            FoundCaption found = captions.caption_of(entry);
            const bool by_name = found.text.empty() && !named.caption.empty();
            if (by_name) found = {named.caption, place.substr(0, place.size() - 1)};
            out_.pictures.push_back(
                {entry.path, place + entry.name, found.text, found.source, by_name, named.repeats});
        }
        for (const auto* entries : {&listing.pictures, &listing.metadata}) {
            for (const FolderEntry& entry : *entries) out_.files.push_back(entry.path);
        }
        for (const fs::path& file : captions.candidates()) out_.files.push_back(file);
        for (const LeftOut& other : listing.left_out) {
            out_.left_out.push_back({place + other.name, other.why, other.expected});
        }
    }

    void add(std::vector<LeftOut> more) {
        std::move(more.begin(), more.end(), std::back_inserter(out_.left_out));
    }

    FolderListing listing_;
    CaptionFiles captions_;
    PictureFolder out_;
};

void require_pictures(const PictureFolder& read, const fs::path& folder) {
    if (!read.pictures.empty()) return;
    std::string endings;
    for (const std::string& ending : picture_endings()) {
        endings += (endings.empty() ? "" : ", ") + ending;
    }
    const std::string others = to_text(read);
    fail("images: ", folder.string(), " holds no pictures (", endings, ")",
         read.left_out.empty() ? "" : others.substr(others.find("; ")),
         ". Put 4 to 6 pictures of the subject there");
}

// Pictures that are all drawn ten times as often are drawn as often as each other.
void divide_repeats(std::vector<FolderPicture>& pictures) {
    std::int64_t common = 0;
    for (const FolderPicture& picture : pictures) common = std::gcd(common, picture.repeats);
    for (FolderPicture& picture : pictures) picture.repeats /= common;
}

}  // namespace

PictureFolder read_picture_folder(const fs::path& folder) {
    std::error_code error;
    require(fs::exists(folder, error), "images: there is no folder ", folder.string());
    require(fs::is_directory(folder, error), "images: ", folder.string(), " is not a folder");
    PictureFolder read = Reader(folder).run();
    std::stable_sort(read.left_out.begin(), read.left_out.end(),
                     [](const LeftOut& a, const LeftOut& b) { return a.name < b.name; });
    require_pictures(read, folder);
    divide_repeats(read.pictures);
    return read;
}

bool lacks_something(const PictureFolder& folder) {
    return std::any_of(folder.left_out.begin(), folder.left_out.end(),
                       [](const LeftOut& each) { return each.expected; });
}

}  // namespace zoodip
