#include "stack/segment.h"

#include "tensors.h"

namespace torchrev {
namespace detail {

Segment::Segment(
    const char* entry,
    const ReversibleOptions& options,
    Direction direction,
    const Arithmetic& arithmetic,
    const StreamPair& x)
    : entry(entry),
      options(options),
      direction(direction),
      arithmetic(arithmetic),
      strides({layout_of(x[0]), layout_of(x[1])}),
      relay(direction) {}

}  // namespace detail
}  // namespace torchrev
