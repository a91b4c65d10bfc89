// A folder of pictures with what is said of them, in any of the layouts that trainers have:
//   NAME.txt or NAME.caption beside NAME.jpg, or NAME.jpg.txt (kohya, A1111 and others);
//   metadata.jsonl, a line {"file_name": ..., "text": ...} for each picture (diffusers), or with
//     image_path and caption (kohya's newer scripts);
//   folders N_name inside it (kohya): their pictures are drawn N times as often, and the name is
//     the caption of those that have none. Folders of other names are left out, which is said
//     like all else that is.
// Names match in any case of letters and in either Unicode form of an accent.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "pictures/left_out.h"

namespace zoodip {

struct FolderPicture {
    std::filesystem::path file;
    std::string name;          // below the folder: "dog.jpg", "10_sks dog/dog.jpg"
    std::string caption = {};  // one line; empty when it has none
    std::string source = {};   // where that is from: "dog.txt", "metadata.jsonl", "10_sks dog"
    bool caption_is_folder_name = false;
    std::int64_t repeats = 1;  // of N_name folders, divided by what all have in common
};

struct PictureFolder {
    std::vector<FolderPicture> pictures;       // by name; those of N_name folders behind the others
    std::vector<LeftOut> left_out;             // by name
    std::vector<std::filesystem::path> files;  // all that decide this: pictures and texts
};

// Reads names and captions; no picture is opened. The first of these that is not empty is a
// picture's caption: NAME.txt, NAME.caption, NAME.jpg.txt, NAME.jpg.caption, metadata.jsonl, the
// N_name folder. Hidden files are passed over. Throws Error for a missing folder, for one without
// pictures and for a caption that is not text in UTF-8; its messages name files below the folder.
PictureFolder read_picture_folder(const std::filesystem::path& folder);

// One line: "6 pictures, 5 captions; left out: IMG_1.HEIC (...), notes.md".
std::string to_text(const PictureFolder& folder);

// Whether anything was left out that its owner would expect to be read.
bool lacks_something(const PictureFolder& folder);

}  // namespace zoodip
