#include "train/subjects.h"

#include <map>
#include <set>

#include "core/ascii.h"
#include "core/json.h"
#include "train/run_outputs.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;

const fs::path& written(const PersonalizeRequest& request) {
    return request.out;
}

const fs::path& written(const GraphRequest& request) {
    return request.output.token;
}

void require_one_model(const PersonalizeRequest& first, const PersonalizeRequest& own) {
    require(own.model == first.model, "subject '", own.word, "': is to be learned on ",
            own.model.string(), ", subject '", first.word, "' on ", first.model.string(),
            "; one run has one model");
    require(own.wire == nullptr, "subjects: several are learned by one process; without torchrun, ",
            "or each in a run of its own");
    require(own.like.empty(), "subject '", own.word, "': `like` repeats the run of one word");
}

void require_one_model(const GraphRequest& first, const GraphRequest& own) {
    require(own.source == first.source, "subject '", own.word,
            "': is to be learned on another model than subject '", first.word, "'");
}

template <class Request>
void require_all_apart(const std::vector<Subject<Request>>& subjects) {
    require(!subjects.empty(), "subjects: needs at least one, got none");
    std::vector<std::string> words;
    for (const auto& subject : subjects) words.push_back(subject.request.word);
    require_own_words(words);
    std::map<std::string, std::string> files;  // whose they are
    for (const auto& subject : subjects) {
        const Request& request = subject.request;
        const fs::path token = fs::weakly_canonical(written(request));
        const auto [at, is_new] = files.emplace(token_of(token).string(), request.word);
        require(is_new, "subjects: '", at->second, "' and '", request.word,
                "' would both be written to ", token.string());
        require_one_model(subjects.front().request, request);
    }
}

}  // namespace

void require_own_words(const std::vector<std::string>& words) {
    std::set<std::string> seen;
    for (const std::string& word : words) {
        require(seen.insert(lower_ascii(word)).second, "subjects: two have the word '", word,
                "'; each needs one of its own");
    }
}

void require_apart(const std::vector<Subject<PersonalizeRequest>>& subjects) {
    require_all_apart(subjects);
}

void require_apart(const std::vector<Subject<GraphRequest>>& subjects) {
    require_all_apart(subjects);
}

void require_alike(const std::vector<Plan>& plans) {
    const auto shared = [](const Plan& plan) {
        nlohmann::json settings = result_settings(plan.settings);
        settings.erase("vectors");  // as many as the initialiser has words
        return settings;
    };
    const Plan& first = plans.front();
    const nlohmann::json of_first = shared(first);
    for (const Plan& plan : plans) {
        const nlohmann::json own = shared(plan);
        for (const auto& [name, value] : own.items()) {
            require(value == of_first[name], "subject '", plan.word(), "': goes on with ", name,
                    ' ', show_json(value), ", subject '", first.word(), "' with ",
                    show_json(of_first[name]), "; go on with them apart");
        }
    }
}

}  // namespace zoodip
