#include "train/output.h"

namespace zoodip {

std::vector<std::filesystem::path> tokens_of(const Output& output) {
    std::vector<std::filesystem::path> tokens = {output.token};
    tokens.insert(tokens.end(), output.also.begin(), output.also.end());
    return tokens;
}

}  // namespace zoodip
