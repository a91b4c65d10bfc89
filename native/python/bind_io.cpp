#include "python/bindings.h"

namespace zoodip {

void bind_io(pybind11::module_&) {}

}  // namespace zoodip
