// What a message must say.
#pragma once

#include <string>

#include <gtest/gtest.h>

namespace zoodip {

inline void expect_in(const std::string& part, const std::string& message) {
    EXPECT_NE(message.find(part), std::string::npos)
        << "expected '" << part << "' in '" << message << "'";
}

}  // namespace zoodip
