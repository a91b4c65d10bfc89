// What lies in a folder of pictures and is not read.
#pragma once

#include <string>

namespace zoodip {

struct LeftOut {
    std::string name;
    std::string why;       // empty for what nobody would expect to be read
    bool expected = true;  // to be read, by who put it there: worth a warning
};

}  // namespace zoodip
