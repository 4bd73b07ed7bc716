#pragma once

#include <torchrev/step_id.h>

#include <array>

#include "streams/direction.h"

// The order in which the steps of a stack run.

namespace torchrev {
namespace detail {

// Of the two steps of a block.
inline std::array<Role, 2> roles_in_order(Direction direction) {
  return direction == Direction::kForward ? std::array{Role::kF, Role::kG}
                                          : std::array{Role::kG, Role::kF};
}

// The step that runs before `step`; none before the first one.
inline StepId step_before(const StepId& step, Direction direction) {
  if (direction == Direction::kForward) {
    return step.previous();
  }
  return step.role == Role::kF ? StepId{step.block, Role::kG}
                               : StepId{step.block + 1, Role::kF};
}

// Pair n is that of the streams before block n of the stack, whichever way it
// runs: what is after block n - 1.
//
// The number of the pair before the steps of `block` run, and after.
inline int64_t pair_before(int64_t block, Direction direction) {
  return direction == Direction::kForward ? block : block + 1;
}
inline int64_t pair_after(int64_t block, Direction direction) {
  return direction == Direction::kForward ? block + 1 : block;
}

}  // namespace detail
}  // namespace torchrev
