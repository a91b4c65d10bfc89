// metadata.jsonl: a line of JSON for each picture of a folder.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "pictures/left_out.h"

namespace zoodip {

class MetadataRows {
  public:
    struct Row {
        std::string name;  // of the picture, as the line has it
        std::string text;  // one line; never empty
        bool wanted = false;
    };

    MetadataRows() = default;
    // Reads {"file_name" | "image_path" | "image" | "file": name, "text" | "caption" | "prompt":
    // caption} from each line. place: of the file, before its name in messages: "10_sks dog/".
    // Throws Error for a file that is not UTF-8; lines that are not JSON are left out.
    MetadataRows(const std::filesystem::path& file, std::string place);

    // The row of a picture: by its name below the folder, or by the end of a longer path; the last
    // one where there are several. nullptr for none.
    Row* find(const std::string& name);

    // Rows that no picture wanted, and lines that name none.
    std::vector<LeftOut> unused() const;

  private:
    void add_line(const std::string& line, std::size_t number);

    std::string place_;
    std::vector<Row> rows_;
    std::map<std::string, std::size_t> by_key_;       // of the whole name
    std::map<std::string, std::size_t> by_long_key_;  // of the last part of an absolute path
    std::vector<LeftOut> no_json_;
    std::size_t without_text_ = 0;
};

}  // namespace zoodip
