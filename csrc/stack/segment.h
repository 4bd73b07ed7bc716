#pragma once

#include <torchrev/options.h>

#include <array>
#include <memory>
#include <mutex>
#include <vector>

#include "stack/relay.h"
#include "stack/saved_end.h"
#include "streams/arithmetic.h"
#include "streams/stream_pair.h"

namespace torchrev {
namespace detail {

struct Step;

// The blocks of a stack between two pairs of streams that are kept: their
// steps, and what these share.
//
// The nodes of the steps and of the end own the segment, which owns its steps:
// while one of the nodes is left, the step of each can be run again. It owns
// none of the nodes.
struct Segment {
  const char* entry;
  ReversibleOptions options;
  Direction direction;
  Arithmetic arithmetic;
  // Strides of stream 1 and of stream 2, in forward and when rebuilt: a branch
  // that views its input sees the same layout in the recompute.
  std::array<std::vector<int64_t>, 2> strides;
  Relay relay;
  // The streams after the last step.
  SavedEnd saved;
  // Those that have a node, in the order in which they run.
  std::vector<std::unique_ptr<Step>> steps;
  // Guards `kept` of the steps. Nothing is run under it.
  std::mutex mutex;

  // `x`: the streams before the first step.
  Segment(
      const char* entry,
      const ReversibleOptions& options,
      Direction direction,
      const Arithmetic& arithmetic,
      const StreamPair& x);
  ~Segment();

  // Appends the step that runs next, and gives it its index.
  Step& add(std::unique_ptr<Step> step);

  // Of the stream that F, or G, changes.
  at::IntArrayRef strides_of(Role role) const {
    return strides[stream_changed_by(role)];
  }
};

}  // namespace detail
}  // namespace torchrev
