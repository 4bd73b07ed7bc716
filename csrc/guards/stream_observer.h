#pragma once

#include "streams/stream_pair.h"

namespace torchrev {
namespace detail {

// Sees the streams of a segment as they are before each of its blocks. May be
// called from the threads of several backward passes.
class StreamObserver {
 public:
  virtual ~StreamObserver() = default;
  // In forward, where the streams may have a graph; `block` is the end of the
  // segment for the streams after its last block.
  virtual void in_forward(int64_t block, const StreamPair& pair) = 0;
  // In backward, as they are rebuilt.
  virtual void rebuilt(int64_t block, const StreamPair& pair) = 0;
  // At the end of such a backward, if it succeeds. What it throws, the user
  // sees.
  virtual void pass_ended() {}
};

}  // namespace detail
}  // namespace torchrev
