#include "python/bindings.h"

namespace zoodip {

void bind_tokenizer(pybind11::module_&) {}

}  // namespace zoodip
