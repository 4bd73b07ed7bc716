#include <torch/csrc/autograd/autograd.h>

#include "support/oracle.h"

// Forward-mode differentiation, and meta tensors: plain autograd, or an error
// before anything is computed.

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 4;

namespace forward_ad = torch::autograd::forward_ad;

struct DualLevel {
  ~DualLevel() {
    forward_ad::exit_dual_level(level);
  }
  uint64_t level = forward_ad::enter_dual_level();
};

Tensor dual(const Tensor& x) {
  return at::_make_dual(x, x.cos(), /*level=*/0);
}

Tensor tangent(const Tensor& x) {
  return std::get<1>(at::_unpack_dual(x, /*level=*/0));
}

class ForwardModeTest : public testing::TestWithParam<bool> {
 protected:
  ForwardModeTest() {
    for (auto& parameter : parameters_of(blocks)) {
      parameter.set_requires_grad(!GetParam());
    }
  }

  Tensor x = torch::randn({2, kWidth}, at::kDouble);
  Blocks blocks = mlp_blocks(2, kWidth);
  DualLevel level;
};
INSTANTIATE_TEST_SUITE_P(FrozenAndTrained, ForwardModeTest, testing::Bool());

TEST_P(ForwardModeTest, DualInputIsAnError) {
  for (int call = 0; call < 2; ++call) {
    EXPECT_THROW_WITH(
        reversible_sequence(blocks, x, dual(x)),
        c10::NotImplementedError,
        "torchrev::reversible_sequence",
        "forward-mode",
        "`x2`, a dual tensor",
        "`store_last` = 2");
  }
  EXPECT_THROW_WITH(
      reversible_residual(mlp_blocks(2, kWidth / 2), dual(x)),
      c10::NotImplementedError,
      "torchrev::reversible_residual",
      "`x`");
}

TEST_P(ForwardModeTest, DualInputOfAnInverseIsAnError) {
  const at::NoGradGuard no_grad;
  EXPECT_THROW_WITH(
      reversible_sequence_inverse(blocks, dual(x), x),
      c10::NotImplementedError,
      "torchrev::reversible_sequence_inverse",
      "`y1`, a dual tensor");
  EXPECT_THROW_WITH(
      reversible_residual_inverse(mlp_blocks(2, kWidth / 2), dual(x)),
      c10::NotImplementedError,
      "torchrev::reversible_residual_inverse",
      "`y`, a dual tensor");
}

TEST_P(ForwardModeTest, DualContextIsAnError) {
  int calls = 0;
  const auto adds = Branch::function(
      [&](const Tensor& x, at::TensorList context, at::TensorList) {
        ++calls;
        return x + context[0];
      });
  EXPECT_THROW_WITH(
      reversible_block(adds.context(), adds.context(), x, x, {dual(x)}),
      c10::NotImplementedError,
      "torchrev::reversible_block",
      "context tensor 0, a dual tensor");
  EXPECT_EQ(calls, 0);
}

TEST_P(ForwardModeTest, DualParameterIsAnError) {
  const auto scales = Branch::function(
      [](const Tensor& x, at::TensorList, at::TensorList parameters) {
        return x * parameters[0];
      },
      {dual(torch::randn({kWidth}, at::kDouble))});
  EXPECT_THROW_WITH(
      reversible_block(blocks[0].f, scales, x, x),
      c10::NotImplementedError,
      "torchrev::reversible_block",
      "G of block 0, a dual tensor");
}

TEST_P(
    ForwardModeTest, TangentsOfAStackThatKeepsItsBlocksAreThoseOfTheFormula) {
  const auto [y1, y2] =
      additive_coupling_sequence(blocks, dual(x), dual(x.sin()));
  const std::vector<Tensor> expected = {tangent(y1), tangent(y2)};
  const auto [z1, z2] = reversible_sequence(
      blocks, dual(x), dual(x.sin()), {}, ReversibleOptions().store_last(2));
  EXPECT_TRUE(
      AllClose({tangent(z1), tangent(z2)}, expected, kFloat64Tolerance));
  const at::NoGradGuard no_grad;
  const auto [w1, w2] = reversible_sequence(blocks, dual(x), dual(x.sin()));
  EXPECT_TRUE(
      AllClose({tangent(w1), tangent(w2)}, expected, kFloat64Tolerance));
}

// The value of such a branch is its input, whose storage is not reused.
TEST_P(ForwardModeTest, TangentsOfABranchThatReturnsItsInput) {
  const Branch same = torch::nn::Identity();
  const at::NoGradGuard no_grad;
  const auto [y1, y2] = reversible_block(same, same, dual(x), dual(x));
  EXPECT_TRUE(
      AllClose({tangent(y1), tangent(y2)}, {2 * x.cos(), 3 * x.cos()}, 1e-15));
}

TEST_P(ForwardModeTest, RoundingOrTorchScriptUnderItIsAnError) {
  EXPECT_THROW_WITH(
      reversible_sequence(
          blocks,
          dual(x),
          x,
          {},
          ReversibleOptions().store_last(2).fraction_bits(12)),
      c10::NotImplementedError,
      "dual",
      "`fraction_bits`");
  const Branch script = scripted(kWidth);
  EXPECT_THROW_WITH(
      reversible_block(
          script, script, dual(x), x, {}, ReversibleOptions().store_last(1)),
      c10::NotImplementedError,
      "dual",
      "TorchScript");
}

TEST_P(ForwardModeTest, ALevelWithoutDualsIsNoError) {
  EXPECT_TRUE(MatchesPlain(blocks, random_inputs({2, kWidth})));
}

TEST(MetaTensorTest, GoThroughAStackAndBack) {
  const auto meta = at::device(at::kMeta).dtype(at::kDouble);
  const auto scales = [&] {
    return Branch::function(
        [](const Tensor& x, at::TensorList, at::TensorList parameters) {
          return (x * parameters[0]).tanh();
        },
        {torch::empty({kWidth}, meta).requires_grad_()});
  };
  const Blocks blocks = {{scales(), scales()}, {scales(), scales()}};
  const auto x = torch::empty({2, kWidth}, meta).requires_grad_();
  const auto [y1, y2] = reversible_sequence(blocks, x, x);
  (y1 + y2).sum().backward();
  EXPECT_EQ(x.grad().sizes(), x.sizes());
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
