#include "python/bindings.h"

namespace zoodip {

void bind_weights(pybind11::module_&) {}

}  // namespace zoodip
