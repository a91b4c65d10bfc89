#include "python/bindings.h"

namespace zoodip {

void bind_train(pybind11::module_&) {}

}  // namespace zoodip
