#pragma once

#include <gtest/gtest.h>
#include <torch/torch.h>
#include <torchrev/torchrev.h>

#include <exception>
#include <functional>
#include <string>
#include <tuple>
#include <typeinfo>
#include <vector>

/// What the tests share: exact counts of tensor bytes, comparisons that say by
/// how much they failed, branches to build stacks from, and one training step
/// done twice, with the library and with plain autograd.

namespace torchrev {
namespace test {

/// Relative to the largest element. Rebuilt streams carry the rounding of every
/// block: some hundred units in the last place at depth 32.
constexpr double kFloat64Tolerance = 1e-10;
constexpr double kFloat32Tolerance = 1e-5;

// --- Memory -----------------------------------------------------------------

/// Counts the bytes that CPU tensors request; exact, and independent of the
/// allocator below. The test program counts from its start.
class MemoryMeter {
 public:
  /// The peak starts at what is live.
  MemoryMeter() {
    reset();
  }
  /// Bytes that are allocated now.
  static int64_t live();
  /// The most bytes that were allocated at once since construction or reset().
  static int64_t peak();
  static void reset();
};

// --- Comparisons ------------------------------------------------------------

/// Same shape and dtype, and no element differs by more than `tolerance` times
/// the largest magnitude in `expected`. Two undefined tensors are close.
testing::AssertionResult AllClose(
    const Tensor& actual, const Tensor& expected, double tolerance);
/// AllClose of each pair, named by its index.
testing::AssertionResult AllClose(
    const std::vector<Tensor>& actual,
    const std::vector<Tensor>& expected,
    double tolerance);

/// Same shape, dtype and values. Two undefined tensors are equal.
testing::AssertionResult BitEqual(const Tensor& actual, const Tensor& expected);
testing::AssertionResult BitEqual(
    const std::vector<Tensor>& actual, const std::vector<Tensor>& expected);

/// The gradient of the scalar `fn()` with respect to each of `variables`, by
/// autograd and by float64 central differences.
testing::AssertionResult GradientMatchesCentralDifference(
    const std::function<Tensor()>& fn, const std::vector<Tensor>& variables);

/// The message of an exception, without the backtrace of c10's.
std::string message_of(const std::exception& error);
/// `message` contains each of `parts`.
testing::AssertionResult Mentions(
    const std::string& message, const std::vector<std::string>& parts);
/// `message` has the form "torchrev::<entry>: expected <condition>, but got
/// <value>" and contains each of `parts`.
testing::AssertionResult HasErrorForm(
    const std::string& message, const std::vector<std::string>& parts);

/// `statement` throws `Exception` with a message that passes HasErrorForm.
template <typename Exception>
testing::AssertionResult Throws(
    const std::function<void()>& statement,
    const std::vector<std::string>& parts) {
  try {
    statement();
  } catch (const Exception& error) {
    return HasErrorForm(message_of(error), parts);
  } catch (const std::exception& error) {
    return testing::AssertionFailure()
           << "threw another type, " << typeid(error).name() << ": "
           << message_of(error);
  }
  return testing::AssertionFailure() << "threw nothing";
}

/// Expects Throws; the strings that the message contains follow.
#define EXPECT_THROW_WITH(statement, Exception, ...) \
  EXPECT_TRUE(                                       \
      (torchrev::test::Throws<Exception>([&] { statement; }, {__VA_ARGS__})))

// --- Branches ---------------------------------------------------------------

/// Pre-norm self-attention over x [N, T, C]; `mask` [T, T] is added to the
/// logits. Without biases: a bias of the keys has a gradient of zero, of which
/// only rounding could be compared.
struct AttentionImpl : torch::nn::Cloneable<AttentionImpl> {
  explicit AttentionImpl(int64_t width);
  void reset() override;
  Tensor forward(const Tensor& x, const Tensor& mask = {});

  int64_t width;
  torch::nn::LayerNorm norm = nullptr;
  torch::nn::Linear projection = nullptr;
  torch::nn::Linear output = nullptr;
};
TORCH_MODULE(Attention);

/// LayerNorm, Linear, GELU, Linear; 4 `width` wide inside.
torch::nn::Sequential mlp(int64_t width, at::ScalarType dtype = at::kDouble);
torch::nn::Linear linear(int64_t width, at::ScalarType dtype = at::kDouble);
Attention attention(int64_t width, at::ScalarType dtype = at::kDouble);
/// Conv2d of 3 x 3 and tanh.
torch::nn::Sequential conv(
    int64_t channels, at::ScalarType dtype = at::kDouble);
/// tanh(x w), in TorchScript.
torch::jit::Module scripted(int64_t width, at::ScalarType dtype = at::kDouble);

using Blocks = std::vector<BranchPair>;

/// `depth` blocks of two mlp() each.
Blocks mlp_blocks(
    int64_t depth, int64_t width, at::ScalarType dtype = at::kDouble);
Blocks conv_blocks(int64_t depth, int64_t channels);
/// The parameters of all branches, in order, shared ones once.
std::vector<Tensor> parameters_of(const Blocks& blocks);

// --- Training steps ---------------------------------------------------------

/// What goes into a stack. Leaves; those that require grad get one.
struct Inputs {
  Tensor x1;
  Tensor x2;
  std::vector<Tensor> context;
};

/// Standard normal x1 and x2 that require grad, no context.
Inputs random_inputs(at::IntArrayRef shape, at::ScalarType dtype = at::kDouble);

/// What came out of one training step.
struct Step {
  /// y1, y2.
  std::vector<Tensor> outputs;
  /// Of x1, x2, context and parameters; undefined where there is none.
  std::vector<Tensor> gradients;
};

/// A stack as a function of its inputs.
using Stack = std::function<std::tuple<Tensor, Tensor>(const Inputs&)>;

/// The oracle: plain autograd over coupling.h.
Stack plain(const Blocks& blocks);
Stack reversible(const Blocks& blocks, const ReversibleOptions& options = {});

/// A loss to which every element of `outputs` contributes with a weight of its
/// own, so that no two of them can be mixed up unseen.
Tensor weighted_sum(const std::vector<Tensor>& outputs);

/// Forward, weighted_sum, backward() from seed 0. Leaves no `.grad` behind.
Step train(
    const Stack& stack,
    const Inputs& inputs,
    const std::vector<Tensor>& parameters);

/// Outputs equal to the bit, gradients close.
testing::AssertionResult Matches(
    const Step& actual, const Step& expected, double tolerance);

/// One step of `reversible(blocks, options)` against one of `plain(blocks)`.
testing::AssertionResult MatchesPlain(
    const Blocks& blocks,
    const Inputs& inputs,
    double tolerance = kFloat64Tolerance,
    const ReversibleOptions& options = {});

}  // namespace test
}  // namespace torchrev
