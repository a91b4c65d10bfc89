#include "zo/estimators.h"

#include "core/error.h"
#include "core/listed.h"

namespace zoodip {

// Each of estimator_NAME.cpp.
const EstimatorKind& rge_estimator();
const EstimatorKind& spsa_estimator();
const EstimatorKind& one_point_estimator();

const std::vector<const EstimatorKind*>& all_estimators() {
    static const std::vector<const EstimatorKind*> all = {
        &rge_estimator(),
        &spsa_estimator(),
        &one_point_estimator(),
    };
    return all;
}

const EstimatorKind& estimator_named(const std::string& name) {
    std::vector<std::string> names;
    for (const EstimatorKind* kind : all_estimators()) {
        if (name == kind->name) return *kind;
        names.push_back(kind->name);
    }
    fail("estimator: needs ", listed_or(names), ", got '", name, "'");
}

std::unique_ptr<Estimator> make_estimator(const std::string& name, double mu) {
    return estimator_named(name).make(mu);
}

}  // namespace zoodip
