#pragma once

#include <torch/csrc/api/include/torch/nn/cloneable.h>
#include <torch/csrc/api/include/torch/nn/modules/container/any_value.h>
#include <torch/csrc/api/include/torch/nn/modules/container/sequential.h>
#include <torch/csrc/api/include/torch/nn/modules/dropout.h>
#include <torch/csrc/api/include/torch/nn/modules/linear.h>
#include <torch/csrc/api/include/torch/nn/modules/normalization.h>
#include <torch/csrc/api/include/torch/nn/options/transformerlayer.h>
#include <torch/csrc/api/include/torch/nn/pimpl.h>
#include <torchrev/nn/reversible.h>
#include <torchrev/options.h>

#include <memory>
#include <ostream>
#include <string>

namespace torchrev {
namespace nn {

/// Options for `Reformer`.
///
/// Example:
/// ```
/// torchrev::nn::Reformer model(
///     torchrev::nn::ReformerOptions(512, 8, 6).causal(true).dropout(0.2));
/// ```
struct TORCHREV_API ReformerOptions {
  ReformerOptions(int64_t d_model, int64_t nhead, int64_t num_layers);

  /// The width of the input and of each of the two streams.
  TORCH_ARG(int64_t, d_model);
  /// The number of heads, which share `d_model` equally.
  TORCH_ARG(int64_t, nhead);
  /// The number of layers: reversible blocks of attention and feed-forward.
  TORCH_ARG(int64_t, num_layers);
  /// The inner width of the feed-forward layers. Default: 2048.
  TORCH_ARG(int64_t, dim_feedforward) = 2048;
  /// Dropout of what attention and feed-forward return, and within the latter.
  /// Default: 0.1.
  TORCH_ARG(double, dropout) = 0.1;
  /// The activation of the feed-forward layers: torch::kGELU, torch::kReLU, or
  /// a function that acts element by element. Default: torch::kGELU.
  TORCH_ARG(torch::nn::activation_t, activation) = torch::kGELU;
  /// Whether a position attends to those before it alone: a decoder; else an
  /// encoder. Default: false.
  TORCH_ARG(bool, causal) = false;
  /// "lsh", whose cost grows with the length (see functional::lsh_attention),
  /// or "full", whose time grows with its square. Default: "lsh".
  TORCH_ARG(std::string, attention) = "lsh";
  /// Positions in a chunk of LSH attention, each of which attends to its own
  /// chunk and the one before. There are twice as many buckets as chunks.
  /// Default: 64.
  TORCH_ARG(int64_t, chunk_length) = 64;
  /// Rounds of hashing of LSH attention. Default: 4.
  TORCH_ARG(int64_t, num_hashes) = 4;
  /// The reversible stack's, of duplicate() streams; `chunks_g` is the number
  /// of chunks of the feed-forward layers. Default: duplicate().
  TORCH_ARG(ReversibleOptions, reversible) = ReversibleOptions().duplicate();
  /// Of the reversible stack; see ReversibleSequentialOptions. Default: none.
  TORCH_ARG(torch::optional<int64_t>, memory_budget) = torch::nullopt;
};

/// Full self-attention as a residual function: norm, multi-head attention,
/// projection, dropout.
///
/// Runs LibTorch's fused kernel where there is one: memory does not grow with
/// the square of the length, but does for a decoder with padding, whose mask is
/// [N, 1, T, T].
///
/// Gradients: x and parameters. LibTorch's kernel for CPU has no double
///            backward; LSHAttention has.
///
/// Example:
/// ```
/// torchrev::nn::FullAttention attention(
///     torchrev::nn::ReformerOptions(64, 4, 1).causal(true));
/// ```
class TORCHREV_API FullAttentionImpl
    : public torch::nn::Cloneable<FullAttentionImpl> {
 public:
  /// Of `options`: d_model, nhead, dropout, causal.
  explicit FullAttentionImpl(const ReformerOptions& options);

  void reset() override;
  /// Prints `torchrev::nn::FullAttention(d_model=64, nhead=4, causal=true)`.
  void pretty_print(std::ostream& stream) const override;

  /// @param x [N, T, d_model].
  /// @param padding [N, T], bool, true for positions that nothing attends to;
  ///        or undefined.
  /// @return [N, T, d_model].
  Tensor forward(const Tensor& x, const Tensor& padding = {});

  ReformerOptions options;
  torch::nn::LayerNorm norm = nullptr;
  /// To queries, keys and values, side by side.
  torch::nn::Linear queries_keys_values = nullptr;
  torch::nn::Linear projection = nullptr;
  torch::nn::Dropout dropout = nullptr;

 protected:
  FORWARD_HAS_DEFAULT_ARGS({1, torch::nn::AnyValue(Tensor())})
};

/// A `ModuleHolder` subclass for `FullAttentionImpl`.
TORCH_MODULE(FullAttention);

/// LSH self-attention as a residual function: norm, multi-head attention with
/// shared queries and keys, projection, dropout; see
/// functional::lsh_attention.
///
/// Draws new rotations at each call, in training and in evaluation, from the
/// default generator. Buckets are remembered for the recompute (see
/// torchrev::remember): 2 bytes for each position, head and round, or 4 with
/// more than 2^14 chunks. A sequence of at most `chunk_length` positions has
/// one bucket, and is attended to as a whole.
class TORCHREV_API LSHAttentionImpl
    : public torch::nn::Cloneable<LSHAttentionImpl> {
 public:
  /// Of `options`: d_model, nhead, dropout, causal, chunk_length, num_hashes.
  explicit LSHAttentionImpl(const ReformerOptions& options);

  void reset() override;
  /// Prints `torchrev::nn::LSHAttention(d_model=64, nhead=4, causal=true,
  /// chunk_length=64, num_hashes=4)`.
  void pretty_print(std::ostream& stream) const override;

  /// @param x [N, T, d_model], T of any size.
  /// @param padding [N, T], bool, true for positions that nothing attends to;
  ///        or undefined.
  /// @return [N, T, d_model].
  Tensor forward(const Tensor& x, const Tensor& padding = {});

  ReformerOptions options;
  torch::nn::LayerNorm norm = nullptr;
  /// To shared queries and keys, and to values, side by side.
  torch::nn::Linear queries_values = nullptr;
  torch::nn::Linear projection = nullptr;
  torch::nn::Dropout dropout = nullptr;

 protected:
  FORWARD_HAS_DEFAULT_ARGS({1, torch::nn::AnyValue(Tensor())})

 private:
  Tensor buckets_of(const Tensor& qk) const;
};

/// A `ModuleHolder` subclass for `LSHAttentionImpl`.
TORCH_MODULE(LSHAttention);

/// A stack of Reformer layers, with a norm behind it:
///   y1 = x1 + Attention(x2),   y2 = x2 + FeedForward(y1),   x1 = x2 = x,
///   y = Norm((y1 + y2) / 2).
///
/// An encoder, or with `causal` a decoder without an encoder: a language
/// model's. Embeddings and positions are up to the caller. Memory does not grow
/// with depth but for the buckets of LSH attention (see LSHAttention) and the
/// generator's states, one for each branch that draws; with
/// `reversible().chunks_g` the wide activation of a feed-forward layer exists
/// in pieces.
///
/// @throws c10::ValueError for options that make no sense: a width that heads
///         do not divide, an attention of another name, streams other than
///         duplicate(), attention in chunks (chunks_f).
/// Reference: Kitaev et al., "Reformer: The Efficient Transformer", 2020.
///
/// Example:
/// ```
/// torchrev::nn::Reformer encoder(torchrev::nn::ReformerOptions(64, 4, 2));
/// auto y = encoder->forward(torch::randn({8, 1024, 64}));
/// ```
class TORCHREV_API ReformerImpl : public torch::nn::Module {
 public:
  explicit ReformerImpl(const ReformerOptions& options);

  /// @param x [N, T, d_model], T of any size.
  /// @param padding [N, T], bool, true for positions that nothing attends to;
  ///        or undefined.
  /// @return [N, T, d_model].
  /// @throws c10::ValueError, c10::TypeError for other shapes and dtypes.
  Tensor forward(const Tensor& x, const Tensor& padding = {});

  /// A deep copy, on `device` if given.
  std::shared_ptr<torch::nn::Module> clone(
      const torch::optional<c10::Device>& device =
          torch::nullopt) const override;
  /// Prints `torchrev::nn::Reformer(d_model=64, nhead=4, num_layers=2)`.
  void pretty_print(std::ostream& stream) const override;

  ReformerOptions options;
  ReversibleSequential stack = nullptr;
  torch::nn::LayerNorm norm = nullptr;

 private:
  /// Becomes a clone of `other`, for torch::nn::Cloneable modules around it.
  void clone_(
      torch::nn::Module& other,
      const torch::optional<c10::Device>& device) override;

 protected:
  FORWARD_HAS_DEFAULT_ARGS({1, torch::nn::AnyValue(Tensor())})
};

/// A `ModuleHolder` subclass for `ReformerImpl`.
TORCH_MODULE(Reformer);

}  // namespace nn
}  // namespace torchrev
