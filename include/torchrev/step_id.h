#pragma once

#include <torchrev/export.h>

#include <cstdint>
#include <ostream>

namespace torchrev {

/// The two residual functions of a block.
enum class Role { kF, kG };

/// A step of a stack, the work of one residual function:
///   F changes stream 1, y1 = x1 + F(x2); G changes stream 2, y2 = x2 + G(y1).
struct TORCHREV_API StepId {
  /// The block, counted from 0 over the whole stack.
  int64_t block = 0;
  /// Which of its two residual functions.
  Role role = Role::kF;

  /// The step that runs before this one; none before F of block 0.
  StepId previous() const {
    return role == Role::kG ? StepId{block, Role::kF}
                            : StepId{block - 1, Role::kG};
  }
};

/// Whether both name the same step.
inline bool operator==(const StepId& a, const StepId& b) {
  return a.block == b.block && a.role == b.role;
}
/// Whether they name different steps.
inline bool operator!=(const StepId& a, const StepId& b) {
  return !(a == b);
}

/// Prints "F of block 3".
TORCHREV_API std::ostream& operator<<(std::ostream& stream, const StepId& step);

}  // namespace torchrev
