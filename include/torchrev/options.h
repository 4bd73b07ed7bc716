#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/api/include/torch/arg.h>
#include <torch/csrc/api/include/torch/types.h>
#include <torchrev/export.h>

#include <memory>

namespace torchrev {

using at::Tensor;

class Coupling;

/// See coupling.h.
TORCHREV_API std::shared_ptr<const Coupling> additive_coupling();

/// How one tensor becomes the two streams of a reversible stack.
struct TORCHREV_API Streams {
  /// Halves of a dimension, the tensor twice, or a velocity and the tensor.
  enum class Kind { kSplit, kDuplicate, kVelocity };
  /// See ReversibleOptions::split, duplicate and velocity.
  Kind kind = Kind::kSplit;
  /// The dimension that is halved (kSplit).
  int64_t dim = -1;
};

/// What a reversible stack keeps, what it replays, what it checks.
///
/// The memory saved costs one more evaluation of F and G in backward.
///
/// Example:
/// ```
/// torchrev::nn::ReversibleSequential stack(
///     torchrev::ReversibleOptions().split(1));
/// ```
struct TORCHREV_API ReversibleOptions {
  /// Whether F and G see in the recompute the random numbers of their forward.
  /// Off saves the copy of the generator's state and is right only for
  /// branches that draw nothing. Default: true.
  TORCH_ARG(bool, preserve_rng_state) = true;
  /// Keep the pair of streams after every k-th block, too: rounding of rebuilt
  /// streams adds up over k blocks at most. 0 keeps the last pair alone.
  /// Default: 0.
  TORCH_ARG(int64_t, save_every) = 0;
  /// The last n blocks (at most all) keep their activations, as plain autograd
  /// does: they cost no recompute. Backward consumes them first, so they do not
  /// add to what the other blocks need. Default: 0.
  TORCH_ARG(int64_t, store_last) = 0;
  /// Number of chunks (at most one a position) that F is evaluated in, in
  /// forward and in backward, so that its inner activations exist for one chunk
  /// at a time. For functions that act position by position along `chunk_dim`;
  /// see check_position_wise. Default: 1.
  TORCH_ARG(int64_t, chunks_f) = 1;
  /// The same for G. Default: 1.
  TORCH_ARG(int64_t, chunks_g) = 1;
  /// The dimension of a stream along which F and G are chunked. Default: 1.
  TORCH_ARG(int64_t, chunk_dim) = 1;
  /// The dtype in which streams are kept, added and rebuilt; F and G run in the
  /// dtype of the input, which is also that of the output. Wider streams make
  /// the rounding of rebuilt streams smaller, at the price of one wide pair
  /// kept besides the output. At least as wide as the input. Default: none,
  /// the dtype of the input.
  TORCH_ARG(torch::optional<at::ScalarType>, stream_dtype) = torch::nullopt;
  /// Exact reconstruction: the input and what F and G return are rounded to
  /// multiples of 2^-fraction_bits (gradients pass straight through), on which
  /// additions are exact while streams stay below 2^(m - fraction_bits) in
  /// magnitude, m = 23 for float32 and 52 for float64 streams. Beyond, forward
  /// throws (on an accelerator a later call of the same branches does, see
  /// check_deferred). For the additive coupling. Default: none.
  TORCH_ARG(torch::optional<int64_t>, fraction_bits) = torch::nullopt;
  /// The largest drift that passes: before up to 4 blocks, backward compares
  /// 256 elements of the rebuilt streams with those of forward, and throws
  /// where the norm of their difference exceeds this part of their norm. They
  /// are kept: 5 KiB in float32 for each pair of streams that is kept, whatever
  /// the depth. A forward whose result is not finite is not compared. None
  /// turns it off. Default: 0.05.
  TORCH_ARG(torch::optional<double>, drift_tolerance) = 0.05;
  /// How a stream takes up what a branch returns; see coupling.h. Never null.
  /// Default: additive_coupling().
  TORCH_ARG(std::shared_ptr<const Coupling>, coupling) = additive_coupling();
  /// Whether all buffers of all branches count as state that forward may change
  /// (copies are kept of those that it does change), as for branches made by
  /// Branch::mutable_buffers(). Otherwise those of more than 1 MiB count as
  /// constant, and an error says so at the first call if one is not.
  /// Default: false.
  TORCH_ARG(bool, mutable_buffers) = false;
  /// Whether the first call of a branch, in each combination of train / eval
  /// flags, is run twice and has to give the same: to the bit on the CPU, to
  /// rounding elsewhere. What a branch depends on and no one can put back (a
  /// member that forward changes, a generator of its own, a clock) is an error
  /// there in place of a wrong gradient. A function is checked once for each
  /// Branch that is called again; of those that are made for one call, the
  /// first of a type are. Default: true.
  TORCH_ARG(bool, verify_first_call) = true;
  /// Debugging aid: check after each forward of a branch that the buffers which
  /// count as constant (more than 1 MiB, see Branch::mutable_buffers) still
  /// hold what they held before. Costs a copy of them. Default: false.
  TORCH_ARG(bool, verify_constant_buffers) = false;
  /// How `x` becomes x1 and x2, for the entry points that take one tensor:
  /// halves along a dimension, merged again afterwards. Default: split(-1).
  TORCH_ARG(Streams, streams) = Streams{};

 public:
  /// Streams are the halves of `x` along `dim`: `y = [y1, y2]`. Convolutional
  /// users say 1 (channels), and need twice the channels of F and G.
  ReversibleOptions& split(int64_t dim = -1) {
    return streams(Streams{Streams::Kind::kSplit, dim});
  }
  /// Both streams are `x`, and `y = (y1 + y2) / 2` (Reformer). Keeps the width,
  /// so it replaces a residual block of that width; a mean does not determine
  /// a pair, so there is no inverse(Tensor).
  ReversibleOptions& duplicate() {
    return streams(Streams{Streams::Kind::kDuplicate, 0});
  }
  /// Stream 1 is a velocity that starts at zero, stream 2 is `x`, and `y = y2`:
  /// what the momentum coupling makes of a residual network. Keeps the width;
  /// has no inverse(Tensor).
  ReversibleOptions& velocity() {
    return streams(Streams{Streams::Kind::kVelocity, 0});
  }
};

}  // namespace torchrev
