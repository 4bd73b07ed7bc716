#pragma once

#include <ATen/core/Tensor.h>
#include <torchrev/step_id.h>

#include <memory>

#include "stack/segment.h"
#include "streams/stream_pair.h"

// The end of a segment saves y1 and y2 in it; nothing else of the segment is
// saved. In backward it runs before all steps, and leaves the pair in the relay
// for the last one.

namespace torchrev {
namespace detail {

// y1 and y2 as they are, after `last`, the last step of the segment.
StreamPair apply_end(
    const std::shared_ptr<Segment>& segment,
    const StepId& last,
    const StreamPair& y);

// y1 and y2 side by side along `dim`.
Tensor apply_merging_end(
    const std::shared_ptr<Segment>& segment,
    const StepId& last,
    const StreamPair& y,
    int64_t dim);

}  // namespace detail
}  // namespace torchrev
