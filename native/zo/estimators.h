// Which estimators there are.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "zo/estimator.h"

namespace zoodip {

// The first is the one that is taken where none is named.
const std::vector<const EstimatorKind*>& all_estimators();

// That of a name, "rge" for example. Throws Error for another.
const EstimatorKind& estimator_named(const std::string& name);
std::unique_ptr<Estimator> make_estimator(const std::string& name, double mu);

}  // namespace zoodip
