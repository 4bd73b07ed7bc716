#pragma once

#include <torchrev/options.h>

#include <array>
#include <vector>

#include "stack/relay.h"
#include "streams/arithmetic.h"
#include "streams/stream_pair.h"

namespace torchrev {
namespace detail {

// The blocks of a stack between two pairs of streams that are kept: what the
// steps of these blocks share.
struct Segment {
  const char* entry;
  ReversibleOptions options;
  Direction direction;
  Arithmetic arithmetic;
  // Strides of stream 1 and of stream 2, in forward and when rebuilt: a branch
  // that views its input sees the same layout in the recompute.
  std::array<std::vector<int64_t>, 2> strides;
  Relay relay;

  // `x`: the streams before the first step.
  Segment(
      const char* entry,
      const ReversibleOptions& options,
      Direction direction,
      const Arithmetic& arithmetic,
      const StreamPair& x);

  // Of the stream that F, or G, changes.
  at::IntArrayRef strides_of(Role role) const {
    return strides[stream_changed_by(role)];
  }
};

}  // namespace detail
}  // namespace torchrev
