#include "python/bindings.h"

namespace zoodip {

void bind_core(pybind11::module_&) {}

}  // namespace zoodip
