// What is said where a model seems to predict another thing than it was taken to.
#include <string>

#include <gtest/gtest.h>

#include "objective/prediction_check.h"

namespace zoodip {
namespace {

TEST(PredictionCheck, DoubtsWhatFitsLessThanHalfAsWell) {
    const std::string said = doubt_of(Prediction::epsilon, "by its family", {1.0, 0.25});
    EXPECT_NE(said.find("is taken to predict epsilon, by its family"), std::string::npos) << said;
    EXPECT_NE(said.find("fits v far better (a loss of 0.25 against 1)"), std::string::npos) << said;
    EXPECT_NE(doubt_of(Prediction::v, "", {0.1, 0.9}).find("fits epsilon"), std::string::npos);
}

TEST(PredictionCheck, SaysNothingWhereItIsNotClear) {
    EXPECT_EQ(doubt_of(Prediction::epsilon, "", {0.25, 1.0}), "");  // as it should be
    EXPECT_EQ(doubt_of(Prediction::v, "", {1.0, 0.25}), "");
    EXPECT_EQ(doubt_of(Prediction::epsilon, "", {1.0, 0.5}), "");  // not below half
}

}  // namespace
}  // namespace zoodip
