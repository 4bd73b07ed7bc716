#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/api/include/torch/arg.h>
#include <torch/csrc/api/include/torch/types.h>
#include <torchrev/export.h>

#include <string>

namespace torchrev {

using at::Tensor;

/// How one tensor becomes the two streams of a reversible stack.
struct TORCHREV_API Streams {
  enum class Kind { kSplit, kDuplicate };
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
  /// Bytes that a training step may need above what is allocated at its entry,
  /// gradients of parameters aside: the modules of torchrev::nn then choose the
  /// largest `store_last` that stays within, see
  /// nn::ReversibleSequential::plan. Default: none.
  TORCH_ARG(torch::optional<int64_t>, memory_budget) = torch::nullopt;
  /// Number of chunks (at most one a position) that F is evaluated in, in
  /// forward and in backward, so that its inner activations exist for one chunk
  /// at a time. For functions that act position by position along `chunk_dim`;
  /// see check_position_wise. Default: 1.
  TORCH_ARG(int64_t, chunks_f) = 1;
  /// The same for G. Default: 1.
  TORCH_ARG(int64_t, chunks_g) = 1;
  /// The dimension of a stream along which F and G are chunked. Default: 1.
  TORCH_ARG(int64_t, chunk_dim) = 1;
  /// The dtype in which streams are kept and added; none is that of the input.
  /// Default: none, the only value of this version.
  TORCH_ARG(torch::optional<at::ScalarType>, stream_dtype) = torch::nullopt;
  /// Exact reconstruction on a grid of 2^-fraction_bits. Default: none, the
  /// only value of this version.
  TORCH_ARG(torch::optional<int64_t>, fraction_bits) = torch::nullopt;
  /// The largest drift of the reconstruction that passes. Default: none (no
  /// drift guard), the only value of this version.
  TORCH_ARG(torch::optional<double>, drift_tolerance) = torch::nullopt;
  /// The coupling of the two streams. Default: "additive", the only value of
  /// this version.
  TORCH_ARG(std::string, coupling) = "additive";
  /// The momentum of the momentum coupling. Default: 0.9.
  TORCH_ARG(double, momentum) = 0.9;
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
};

}  // namespace torchrev
