#include "python/bindings.h"

namespace zoodip {

void bind_nn(pybind11::module_&) {}

}  // namespace zoodip
