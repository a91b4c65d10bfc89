// Several subjects on one command line: --subject and --subjects.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "train/plan.h"

namespace zoodip {

// One subject of a command: where its pictures are, and what it is to be called.
struct NamedSubject {
    std::string name;  // of its files
    std::filesystem::path images;
    std::string word, initialiser;
};

// "dog=photos/dog:sks:dog": a name for its files, a folder, the word, the initialiser. A colon of
// the folder's own (C:\photos) is left to it. Throws Error that says what is missing.
NamedSubject parse_subject(const std::string& text);

// The folders in a folder, by name, each called after its word and initialiser: "sks dog", or as
// other trainers call them "10_sks dog". Files are named after the word. Throws Error for a folder
// that is called otherwise, and where there is none.
std::vector<NamedSubject> subjects_in(const std::filesystem::path& folder);

// Of each "ohwx:person" word and initialiser. Throws Error that says what is missing.
std::vector<NewWord> parse_also(const std::vector<std::string>& texts);

class SubjectOptions {
  public:
    void add_to(CLI::App& command);
    bool given() const { return !texts_.empty() || !folder_.empty(); }

    // One request for each subject: what `common` asks for, with files named after the subjects in
    // its `out`, `log` and `previews`, which are folders. Throws Error.
    std::vector<PersonalizeRequest> requests(const PersonalizeRequest& common) const;

  private:
    std::vector<std::string> texts_;
    std::filesystem::path folder_;
};

}  // namespace zoodip
