#include "ops/panel_source.h"

#include <utility>

#include "core/error.h"

namespace zoodip {

PanelSource::PanelSource(std::vector<std::int64_t> shape) : shape_(std::move(shape)) {
    require(shape_.size() == 2 || (shape_.size() == 4 && shape_[2] == shape_[3] && shape_[2] > 0),
            "panel weight: needs [out, in] or a square kernel, got ", at::IntArrayRef(shape_));
    require(shape_[0] > 0 && shape_[1] > 0, "panel weight: needs channels, got ",
            at::IntArrayRef(shape_));
}

}  // namespace zoodip
