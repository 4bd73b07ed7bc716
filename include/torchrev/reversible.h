#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/ArrayRef.h>
#include <torchrev/branch.h>
#include <torchrev/options.h>

#include <tuple>

/// Reversible blocks as functions. They compute what `coupling.h` computes and
/// keep only their last outputs: backward rebuilds every earlier stream from
/// them, runs F and G again, and back-propagates through one branch at a time.
///
/// What holds for all of them:
///
/// Gradients: x1, x2 (or x), context and the parameters of F and G, equal to
///            those of plain autograd over `coupling.h`; likewise for inverses.
///            Double backward is supported, and then keeps one pair of streams
///            a block.
/// Memory:    one pair of streams, whatever the number of blocks.
/// Numerics:  rebuilt streams differ from the originals by rounding.
/// Context:   tensors for F and G after x; see Branch::context. They may be
///            undefined, integer or boolean; those that require grad get it.
/// Errors:    c10::ValueError for shapes and option values, c10::TypeError for
///            dtypes and devices, before anything is computed. c10::ValueError
///            or c10::TypeError right after a branch that did not keep shape,
///            dtype or device. c10::ValueError from forward or backward where
///            `fraction_bits` or `drift_tolerance` do not hold.
/// Thread-safety: as for torch::nn::Module; backward may run in any thread.
/// Reference: Gomez et al., "The Reversible Residual Network", 2017.

namespace torchrev {

/// One block: y1 = x1 + F(x2), y2 = x2 + G(y1).
///
/// @param f F.  @param g G.
/// @param x1 [*], floating point.  @param x2 shape, dtype, device of `x1`.
/// @param context what branches may ask for, see Branch::context.
/// @param options what is kept, replayed and checked.
/// @return {y1, y2}.
TORCHREV_API std::tuple<Tensor, Tensor> reversible_block(
    const Branch& f,
    const Branch& g,
    const Tensor& x1,
    const Tensor& x2,
    at::TensorList context = {},
    const ReversibleOptions& options = {});

/// Blocks in turn, as `reversible_block`; keeps the last pair alone.
///
/// @param blocks at least one.
/// @param x1 [*], floating point.  @param x2 shape, dtype, device of `x1`.
/// @param context as in `reversible_block`.  @param options likewise.
/// @return {y1, y2}.
///
/// Example:
/// ```
/// std::vector<torchrev::BranchPair> blocks = {{f0, g0}, {f1, g1}};
/// auto [y1, y2] = torchrev::reversible_sequence(blocks, x1, x2);
/// ```
TORCHREV_API std::tuple<Tensor, Tensor> reversible_sequence(
    at::ArrayRef<BranchPair> blocks,
    const Tensor& x1,
    const Tensor& x2,
    at::TensorList context = {},
    const ReversibleOptions& options = {});

/// The stack as a function of one tensor, split into streams and merged again
/// as `options.streams()` says.
///
/// @param blocks at least one.
/// @param x [*], floating point; with split(dim), x.size(dim) is even.
/// @param context as in `reversible_block`.  @param options likewise.
/// @return shape, dtype and device of `x`. With split(), and streams of that
///         dtype, nothing but this tensor and the fingerprints of the drift
///         guard is retained.
TORCHREV_API Tensor reversible_residual(
    at::ArrayRef<BranchPair> blocks,
    const Tensor& x,
    at::TensorList context = {},
    const ReversibleOptions& options = {});

/// {x1, x2} of `reversible_block`'s {y1, y2}: x2 = y2 - G(y1), x1 = y1 - F(x2).
///
/// The block run the other way: gradients, memory and errors are as above, with
/// x and y exchanged. It keeps x1 and x2, from which backward rebuilds y1 and
/// y2. A branch that draws random numbers draws new ones: invert such a block
/// in eval mode.
TORCHREV_API std::tuple<Tensor, Tensor> reversible_block_inverse(
    const Branch& f,
    const Branch& g,
    const Tensor& y1,
    const Tensor& y2,
    at::TensorList context = {},
    const ReversibleOptions& options = {});

/// {x1, x2} of `reversible_sequence`'s {y1, y2}; see
/// `reversible_block_inverse`.
TORCHREV_API std::tuple<Tensor, Tensor> reversible_sequence_inverse(
    at::ArrayRef<BranchPair> blocks,
    const Tensor& y1,
    const Tensor& y2,
    at::TensorList context = {},
    const ReversibleOptions& options = {});

/// `x` of `reversible_residual`'s `y`, for split streams; see
/// `reversible_block_inverse`.
/// @throws c10::ValueError with duplicate() or velocity(), whose result does
///         not determine a pair.
TORCHREV_API Tensor reversible_residual_inverse(
    at::ArrayRef<BranchPair> blocks,
    const Tensor& y,
    at::TensorList context = {},
    const ReversibleOptions& options = {});

/// Checks that `branch` acts position by position along `chunk_dim`, as
/// `chunks_f` and `chunks_g` require: that it gives for `chunks` chunks of `x`
/// what it gives for `x`, up to rounding. For branches that keep the shape.
/// Runs it twice; buffers and generators are afterwards as before. A branch
/// that draws random numbers draws others for chunks: check it in eval mode.
/// @throws c10::ValueError that says by how much the results differ.
TORCHREV_API void check_position_wise(
    const Branch& branch,
    const Tensor& x,
    int64_t chunks = 2,
    int64_t chunk_dim = 1,
    at::TensorList context = {});

}  // namespace torchrev
