#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/ArrayRef.h>
#include <torchrev/branch.h>
#include <torchrev/options.h>

#include <ostream>
#include <vector>

/// How far rounding carries a reversible stack from plain autograd. Each block
/// that backward rebuilds adds its rounding errors to those of the blocks after
/// it; where F and G amplify them, they spoil the gradients. See
/// ReversibleOptions::drift_tolerance for the guard that is always on.

namespace torchrev {

/// The errors of one block, each as the norm of a difference relative to the
/// norm of what was expected.
struct TORCHREV_API BlockDrift {
  /// Of the streams before the block, both together, as backward rebuilds them.
  double reconstruction = 0;
  /// Of the gradients of the block's parameters from those of plain autograd,
  /// with the same options; 0 if none of its parameters is trained.
  double gradient = 0;
};

/// Prints "reconstruction 4.1e-06, gradient 2.3e-06".
TORCHREV_API std::ostream& operator<<(
    std::ostream& stream, const BlockDrift& drift);

/// Measures the drift of each block of `reversible_sequence(blocks, x1, x2,
/// context, options)`, for a weighted sum of its outputs as loss. A diagnosis,
/// in time and memory: it keeps all streams, and runs a step of plain autograd.
/// Buffers, gradients and generators are afterwards as before.
///
/// @param blocks at least one.
/// @param x1 [*], floating point.  @param x2 shape, dtype, device of `x1`.
/// @param context what branches may ask for.  @param options of the stack.
/// @return one for each block, the first block first.
///
/// Example:
/// ```
/// for (const auto& block : torchrev::drift(blocks, x1, x2)) {
///   std::cout << block << std::endl;
/// }
/// ```
TORCHREV_API std::vector<BlockDrift> drift(
    at::ArrayRef<BranchPair> blocks,
    const Tensor& x1,
    const Tensor& x2,
    at::TensorList context = {},
    const ReversibleOptions& options = {});

/// Waits for the checks of the drift guard and of exact reconstruction whose
/// numbers are still on their way from an accelerator, those of all stacks that
/// live, and throws what fails, in one error. Waits for these numbers alone,
/// not for what a device has still to do.
///
/// Without it, each stack gets its own errors, and no other one does: the next
/// call of the same branches throws them, or the end of their backward, once
/// the numbers have arrived, without waiting. What fails in one step is one
/// error. A stack lives as long as its first branch; one that is made of new
/// functions for each call is gone before it could be told. On the CPU there
/// are none: they are thrown by the forward or backward that they belong to.
///
/// While a stream is captured (a CUDA graph), nothing is checked.
/// @throws c10::ValueError for what fails, and within a capture.
TORCHREV_API void check_deferred();

}  // namespace torchrev
