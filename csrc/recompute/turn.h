#pragma once

#include <c10/util/ThreadLocalDebugInfo.h>

#include <mutex>

#include "check.h"

namespace torchrev {
namespace detail {

// While it lives, no other thread has a turn, but those that this one waits
// for: a recompute that sets what all see may run a backward pass, whose nodes,
// on the threads of other devices, may be recomputes that do the same.
//
// How deep a turn lies within others travels with the thread-local state that
// the engine takes to its threads. There is a lock for each depth: a turn waits
// only for turns of its own depth, which wait only for deeper ones, so that
// there is no circle. Turns of one depth have the same turn around them, or
// none.
class Turn {
 public:
  // Throws c10::ValueError where it waits for a minute: for a thread that knows
  // nothing of the turn that waits for it.
  explicit Turn(const Place& place);
  ~Turn();
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  explicit Turn(const Place& place, std::size_t depth);

  std::unique_lock<std::timed_mutex> lock_;
  // Of this thread, and of those that run nodes for it: while it waits, this
  // thread may run nodes of others.
  std::size_t depth_before_;
  c10::DebugInfoGuard depth_;
};

}  // namespace detail
}  // namespace torchrev
