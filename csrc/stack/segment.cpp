#include "stack/segment.h"

#include "tensors.h"

namespace torchrev {
namespace detail {

Segment::Segment(
    const char* entry,
    const ReversibleOptions& options,
    const Arithmetic& arithmetic,
    const StreamPair& x)
    : entry(entry),
      options(options),
      arithmetic(arithmetic),
      strides({layout_of(x[0]), layout_of(x[1])}) {}

}  // namespace detail
}  // namespace torchrev
