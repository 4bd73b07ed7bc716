#include "stack/segment.h"

#include "stack/step.h"
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

Segment::~Segment() = default;

Step& Segment::add(std::unique_ptr<Step> step) {
  step->index = steps.size();
  steps.push_back(std::move(step));
  return *steps.back();
}

}  // namespace detail
}  // namespace torchrev
