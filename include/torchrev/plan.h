#pragma once

#include <torchrev/export.h>

#include <cstdint>
#include <ostream>

namespace torchrev {

/// Which blocks of a stack keep their activations, and what a training step
/// needs then. Bytes are those of tensors, exact, above what is allocated at
/// the entry of forward; gradients of parameters do not count.
struct TORCHREV_API Plan {
  /// Blocks in the stack.
  int64_t blocks = 0;
  /// The last n of them keep their activations.
  int64_t store_last = 0;
  /// Kept between forward and backward.
  int64_t retained_bytes = 0;
  /// The most at any time from the entry of forward to the end of backward, if
  /// the output and its incoming gradient are held until then. A caller who
  /// lets them go sooner needs less.
  int64_t peak_bytes = 0;

  /// Time of a step relative to plain autograd, if the backward of a block
  /// takes twice its forward: 4/3 where nothing is kept, 1 where all is.
  double relative_time() const {
    return blocks == 0 ? 1
                       : 1 + static_cast<double>(blocks - store_last) /
                                 (3.0 * static_cast<double>(blocks));
  }
};

/// Prints one line, for example "keeps blocks 5 to 7 of 8 (store_last = 3):
/// 7340032 bytes after forward, 12582912 at the peak, 1.21 x the time of plain
/// autograd".
TORCHREV_API std::ostream& operator<<(std::ostream& stream, const Plan& plan);

}  // namespace torchrev
