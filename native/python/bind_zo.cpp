#include "python/bindings.h"

namespace zoodip {

void bind_zo(pybind11::module_&) {}

}  // namespace zoodip
