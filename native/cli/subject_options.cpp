#include "cli/subject_options.h"

#include <set>
#include <string_view>
#include <system_error>
#include <utility>

#include "core/ascii.h"
#include "core/error.h"
#include "pictures/folder_listing.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;

constexpr const char* form = "NAME=FOLDER:WORD:INIT, for example dog=photos/dog:sks:dog";

// A name that a file can have on any system, and that leads nowhere else.
void require_file_name(const std::string& name, const std::string& source) {
    const bool plain = !name.empty() && name != "." && name != ".." &&
                       name.find_first_of("/\\:*?\"<>|") == std::string::npos;
    require(plain, source, ": '", name, "' cannot be the name of its files");
}

fs::path inside(const fs::path& folder, const std::string& name) {
    return folder.empty() ? folder : folder / name;
}

PersonalizeRequest request_for(const NamedSubject& subject, const PersonalizeRequest& common) {
    PersonalizeRequest request = common;
    request.images = subject.images;
    request.word = subject.word;
    request.initialiser = subject.initialiser;
    request.out = common.out / (subject.name + ".safetensors");
    request.log = inside(common.log, subject.name + ".jsonl");
    request.previews = inside(common.previews, subject.name);
    return request;
}

}  // namespace

NamedSubject parse_subject(const std::string& text) {
    const std::string source = concat("subject '", text, "'");
    const std::size_t named = text.find('=');
    require(named != std::string::npos, source, ": needs ", form);
    const std::string rest = text.substr(named + 1);
    const std::size_t last = rest.rfind(':');
    const std::size_t middle =
        last == std::string::npos || last == 0 ? std::string::npos : rest.rfind(':', last - 1);
    require(middle != std::string::npos, source, ": needs ", form);
    const NamedSubject subject{text.substr(0, named), rest.substr(0, middle),
                               rest.substr(middle + 1, last - middle - 1), rest.substr(last + 1)};
    require(!subject.images.empty() && !subject.word.empty() && !subject.initialiser.empty(),
            source, ": needs ", form);
    require_file_name(subject.name, source);
    return subject;
}

std::vector<NewWord> parse_also(const std::vector<std::string>& texts) {
    std::vector<NewWord> words;
    for (const std::string& text : texts) {
        const std::size_t colon = text.find(':');
        require(colon != std::string::npos && colon > 0 && colon + 1 < text.size(), "also '", text,
                "': needs WORD:INIT, for example ohwx:person");
        words.push_back({text.substr(0, colon), text.substr(colon + 1)});
    }
    return words;
}

std::vector<NamedSubject> subjects_in(const fs::path& folder) {
    std::vector<NamedSubject> subjects;
    for (const FolderEntry& entry : list_folder(folder).folders) {
        const auto named = read_folder_name(entry.name);
        const std::string words(trim_blanks(named ? named->caption : entry.name));
        const std::size_t space = words.find(' ');
        const std::string source = concat("subjects: ", (folder / entry.path.filename()).string());
        require(
            space != std::string::npos, source,
            ": a subject's folder is called after its word and its initialiser, as in 'sks dog'");
        subjects.push_back({words.substr(0, space), entry.path, words.substr(0, space),
                            std::string(trim_blanks(std::string_view(words).substr(space + 1)))});
        require_file_name(subjects.back().name, source);
    }
    require(!subjects.empty(), "subjects: ", folder.string(),
            " has no folders in it; each subject needs one of its own, called as 'sks dog'");
    return subjects;
}

void SubjectOptions::add_to(CLI::App& command) {
    command
        .add_option("--subject", texts_,
                    concat("One of several subjects that are learned in one run: ", form,
                           "; --out, --log and --previews are folders then"))
        ->take_all();
    command.add_option("--subjects", folder_,
                       "Folder of such subjects' folders, each called after its word and "
                       "initialiser: 'sks dog'");
}

std::vector<PersonalizeRequest> SubjectOptions::requests(const PersonalizeRequest& common) const {
    require(common.images.empty() && common.word.empty() && common.initialiser.empty(),
            "train: --images, --word and --init are of one subject; each --subject has its own");
    require(common.also.empty(),
            "train: --also adds a word to the captions of --images; leave out ",
            "--subject and --subjects");
    std::vector<NamedSubject> subjects;
    for (const std::string& text : texts_) subjects.push_back(parse_subject(text));
    if (!folder_.empty()) {
        for (NamedSubject& subject : subjects_in(folder_)) subjects.push_back(std::move(subject));
    }
    std::set<std::string> names;
    std::vector<PersonalizeRequest> requests;
    for (const NamedSubject& subject : subjects) {
        require(names.insert(subject.name).second, "subjects: two are called '", subject.name,
                "'; their files would be the same");
        requests.push_back(request_for(subject, common));
    }
    std::error_code ignored;  // a file that cannot be opened there says why
    for (const fs::path& made : {common.out, common.log}) {
        if (!made.empty()) fs::create_directories(made, ignored);
    }
    return requests;
}

}  // namespace zoodip
