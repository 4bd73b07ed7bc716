#pragma once

#include <torch/csrc/api/include/torch/nn/module.h>
#include <torch/csrc/api/include/torch/nn/modules/common.h>
#include <torch/csrc/api/include/torch/nn/modules/container/any_value.h>
#include <torch/csrc/api/include/torch/nn/pimpl.h>
#include <torchrev/branch.h>
#include <torchrev/drift.h>
#include <torchrev/options.h>
#include <torchrev/plan.h>

#include <memory>
#include <ostream>
#include <tuple>
#include <vector>

namespace torchrev {

namespace detail {
class Planner;
}

namespace nn {

/// One reversible block as a module: splits `x` into two streams, computes
///   y1 = x1 + F(x2),   y2 = x2 + G(y1)
/// and merges them. Trades one more evaluation of F and G for their
/// activations: only the output is kept.
///
/// F and G are registered as `f` and `g`: they are the modules that were given,
/// and take part in parameters(), saving and loading, to(), train(), eval(),
/// zero_grad() and clone().
///
/// Drops into torch::nn::Sequential. Consecutive ReversibleBlocks keep one
/// output each; a ReversibleSequential keeps one in all.
///
/// Example:
/// ```
/// torchrev::nn::ReversibleBlock block(
///     torch::nn::Linear(32, 32), torch::nn::Linear(32, 32));
/// auto y = block->forward(torch::randn({8, 64}));
/// ```
class TORCHREV_API ReversibleBlockImpl : public torch::nn::Module {
 public:
  /// Registers the modules of the branches as `f` and `g`.
  ReversibleBlockImpl(Branch f, Branch g, ReversibleOptions options = {});

  /// @param x see torchrev::reversible_residual.
  /// @param context what branches may ask for, see Branch::context.
  /// @return shape, dtype and device of `x`.
  Tensor forward(const Tensor& x, const std::vector<Tensor>& context = {});
  /// `x` of `forward`'s result, for split streams; differentiable, see
  /// torchrev::reversible_residual_inverse.
  Tensor inverse(const Tensor& y, const std::vector<Tensor>& context = {});
  /// {y1, y2} of streams {x1, x2}; see torchrev::reversible_block.
  std::tuple<Tensor, Tensor> forward_streams(
      const Tensor& x1,
      const Tensor& x2,
      const std::vector<Tensor>& context = {});
  /// {x1, x2} of {y1, y2}; differentiable.
  std::tuple<Tensor, Tensor> inverse_streams(
      const Tensor& y1,
      const Tensor& y2,
      const std::vector<Tensor>& context = {});

  /// A deep copy, on `device` if given.
  std::shared_ptr<torch::nn::Module> clone(
      const torch::optional<c10::Device>& device =
          torch::nullopt) const override;
  /// Prints `torchrev::nn::ReversibleBlock(split(dim=-1))`, and the options
  /// that are not the defaults.
  void pretty_print(std::ostream& stream) const override;

  /// The residual functions.
  BranchPair branches;
  /// The options with which this module was constructed.
  ReversibleOptions options;

 private:
  /// Becomes a clone of `other`, for torch::nn::Cloneable modules around it.
  void clone_(
      torch::nn::Module& other,
      const torch::optional<c10::Device>& device) override;

 protected:
  FORWARD_HAS_DEFAULT_ARGS({1, torch::nn::AnyValue(std::vector<Tensor>())})
};

/// A `ModuleHolder` subclass for `ReversibleBlockImpl`.
TORCH_MODULE(ReversibleBlock);

/// Options for `ReversibleSequential`.
///
/// Example:
/// ```
/// torchrev::nn::ReversibleSequential stack(
///     torchrev::nn::ReversibleSequentialOptions(
///         torchrev::ReversibleOptions().split(1))
///         .memory_budget(2 << 20));
/// ```
struct TORCHREV_API ReversibleSequentialOptions {
  /// Without a budget.
  /* implicit */ ReversibleSequentialOptions(ReversibleOptions reversible = {});

  /// How the blocks run. Default: ReversibleOptions().
  TORCH_ARG(ReversibleOptions, reversible);
  /// Bytes that a training step may need above what is allocated at its entry,
  /// gradients of parameters aside: the stack then chooses the largest
  /// `store_last` that stays within, in place of that of `reversible`; see
  /// ReversibleSequential::plan. Default: none.
  TORCH_ARG(torch::optional<int64_t>, memory_budget) = torch::nullopt;
};

/// A stack of reversible blocks that keeps one pair of streams in all, whatever
/// its depth: with split streams, nothing but its output.
///
/// Blocks are registered as `0`, `1`, ..., their branches as `0.f`, `0.g`, ...
///
/// Example:
/// ```
/// torchrev::nn::ReversibleSequential stack;
/// for (int i = 0; i < 64; ++i) {
///   stack->push_back(torch::nn::Linear(32, 32), torch::nn::Linear(32, 32));
/// }
/// auto y = stack->forward(torch::randn({8, 64}));
/// ```
class TORCHREV_API ReversibleSequentialImpl : public torch::nn::Module {
 public:
  /// An empty stack.
  explicit ReversibleSequentialImpl(ReversibleSequentialOptions options = {});

  /// Appends a block y1 = x1 + F(x2), y2 = x2 + G(y1).
  void push_back(Branch f, Branch g);

  /// @param x see torchrev::reversible_residual. An empty stack is the
  ///          identity.
  /// @param context what branches may ask for, see Branch::context.
  Tensor forward(const Tensor& x, const std::vector<Tensor>& context = {});
  /// `x` of `forward`'s result, for split streams; differentiable, see
  /// torchrev::reversible_residual_inverse.
  Tensor inverse(const Tensor& y, const std::vector<Tensor>& context = {});
  /// {y1, y2} of streams {x1, x2}; see torchrev::reversible_sequence.
  std::tuple<Tensor, Tensor> forward_streams(
      const Tensor& x1,
      const Tensor& x2,
      const std::vector<Tensor>& context = {});
  /// {x1, x2} of {y1, y2}; differentiable.
  std::tuple<Tensor, Tensor> inverse_streams(
      const Tensor& y1,
      const Tensor& y2,
      const std::vector<Tensor>& context = {});

  /// The number of blocks.
  std::size_t size() const noexcept;
  /// Whether there is none.
  bool is_empty() const noexcept;
  /// The block at `index`.
  /// @throws c10::IndexError if there is none.
  ReversibleBlock operator[](std::size_t index) const;

  /// What a training step of `forward(x, context)` keeps and needs. With
  /// `options.memory_budget()`, the last blocks that keep their activations are
  /// as many as the budget allows; else
  /// `options.reversible().store_last()`.
  ///
  /// The bytes are measured: the first call for inputs of a shape runs some
  /// steps on a copy of `x` and leaves parameters, buffers, gradients and
  /// generators as they were. Deterministic for given shapes.
  ///
  /// @throws c10::ValueError with the bytes that would be needed, if the budget
  ///         is too small even for `store_last = 0`.
  ///
  /// Example:
  /// ```
  /// torchrev::nn::ReversibleSequential stack(
  ///     torchrev::nn::ReversibleSequentialOptions().memory_budget(2 << 20));
  /// std::cout << stack->plan(x) << std::endl;
  /// ```
  Plan plan(const Tensor& x, const std::vector<Tensor>& context = {});

  /// How far the gradients of each block are from plain autograd in a step of
  /// `forward(x, context)`; see torchrev::drift.
  std::vector<BlockDrift> drift(
      const Tensor& x, const std::vector<Tensor>& context = {});

  /// A deep copy, on `device` if given.
  std::shared_ptr<torch::nn::Module> clone(
      const torch::optional<c10::Device>& device =
          torch::nullopt) const override;
  /// Prints `torchrev::nn::ReversibleSequential(split(dim=-1))`, and the
  /// options that are not the defaults.
  void pretty_print(std::ostream& stream) const override;

  /// The residual functions, block by block.
  std::vector<BranchPair> branches;
  /// The options with which this module was constructed.
  ReversibleSequentialOptions options;

 private:
  /// Becomes a clone of `other`, for torch::nn::Cloneable modules around it.
  void clone_(
      torch::nn::Module& other,
      const torch::optional<c10::Device>& device) override;

  std::shared_ptr<detail::Planner> planner_;

 protected:
  FORWARD_HAS_DEFAULT_ARGS({1, torch::nn::AnyValue(std::vector<Tensor>())})
};

/// A `ModuleHolder` subclass for `ReversibleSequentialImpl`.
TORCH_MODULE(ReversibleSequential);

/// Makes a residual network x' = x + F(x), trained or not, a reversible stack
/// with the same parameters:
///   v' = m v + (1 - m) F(x),   x' = x + v',   v = 0 at the start.
///
/// m = 0 is the original network, to the bit. It has no inverse, so all its
/// activations are kept, as in plain autograd. 0 < m < 1 is another network,
/// closer to the original for smaller m, that is rebuilt in backward. The
/// rebuilding divides by m at each branch, which makes rounding errors grow as
/// m^-depth: streams are float64, and one pair of them is kept for every n
/// branches, where m^-n is 10^6 (131 branches for m = 0.9, 19 for 0.5, 6 for
/// 0.1).
///
/// @param branches the residual functions F, the first one first.
/// @param momentum m, in [0, 1).
/// @return a stack of blocks whose G is the identity, of velocity() streams;
///         `forward(x)` is the network.
/// Reference: Sander et al., "Momentum Residual Neural Networks", 2021.
///
/// Example:
/// ```
/// auto stack = torchrev::nn::reversible_from_residual({f0, f1, f2}, 0.9);
/// auto y = stack->forward(x);
/// ```
TORCHREV_API ReversibleSequential reversible_from_residual(
    const std::vector<Branch>& branches, double momentum = 0.9);

}  // namespace nn
}  // namespace torchrev
