// Several words that are learned in one run over one model: what they must have of their own, and
// what in common.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "core/cancel.h"
#include "core/error.h"
#include "train/joint_runs.h"
#include "train/observer.h"
#include "train/plan.h"

namespace zoodip {

template <class Request>
struct Subject {
    Request request;
    PersonalizeObserver* observer;
    CancelToken cancel;  // stops this one before its next step
    OnEnd on_end = [](const Ending&) {};
};

// Throws Error where two are the same.
void require_own_words(const std::vector<std::string>& words);

// Throw Error for none; for two of one word or one file; for several models.
void require_apart(const std::vector<Subject<PersonalizeRequest>>& subjects);
void require_apart(const std::vector<Subject<GraphRequest>>& subjects);

// Throws Error where settings differ that all share. They come from one request, but stopped runs
// go on as they were begun.
void require_alike(const std::vector<Plan>& plans);

// What `work` throws says of which subject it is, where there are several.
template <class Work>
auto naming_subject(const std::string& word, std::size_t subjects, Work&& work) {
    try {
        return work();
    } catch (const Error& error) {
        if (subjects == 1) throw;
        fail("subject '", word, "': ", error.what());
    }
}

}  // namespace zoodip
