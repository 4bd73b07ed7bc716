#include <cmath>
#include <limits>

#include "support/oracle.h"

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kBits = 12;

ReversibleOptions exact(int64_t bits = kBits) {
  return ReversibleOptions().fraction_bits(bits);
}

Blocks deep(const std::function<BranchPair()>& block) {
  Blocks blocks;
  for (int i = 0; i < 256; ++i) {
    blocks.push_back(block());
  }
  return blocks;
}

TEST(ExactTest, GradientsOfAttentionEqualPlainAutogradToTheBitAtDepth256) {
  torch::manual_seed(0);
  const auto blocks = deep([] {
    return BranchPair{attention(8, at::kFloat), mlp(8, at::kFloat)};
  });
  EXPECT_TRUE(
      EqualsOracle(blocks, random_inputs({2, 6, 8}, at::kFloat), exact()));
}

TEST(ExactTest, GradientsOfConvolutionsEqualPlainAutogradToTheBitAtDepth256) {
  torch::manual_seed(0);
  const auto blocks = deep([] {
    return BranchPair{conv(3, at::kFloat), conv(3, at::kFloat)};
  });
  EXPECT_TRUE(
      EqualsOracle(blocks, random_inputs({2, 3, 5, 5}, at::kFloat), exact()));
}

TEST(ExactTest, GradientsOfLinearLayersEqualPlainAutogradToTheBitAtDepth256) {
  torch::manual_seed(0);
  const auto layer = [] {
    const auto branch = linear(8, at::kFloat);
    const torch::NoGradGuard no_grad;
    branch->weight.mul_(0.1);  // or streams leave every range
    return branch;
  };
  const auto blocks = deep([&] { return BranchPair{layer(), layer()}; });
  EXPECT_TRUE(EqualsOracle(blocks, random_inputs({5, 8}, at::kFloat), exact()));
}

TEST(ExactTest, WithoutItTheyDiffer) {
  torch::manual_seed(0);
  const auto blocks = deep([] {
    return BranchPair{mlp(8, at::kFloat), mlp(8, at::kFloat)};
  });
  EXPECT_FALSE(EqualsOracle(blocks, random_inputs({5, 8}, at::kFloat), {}));
}

TEST(ExactTest, ReconstructionIsExact) {
  torch::manual_seed(0);
  const auto blocks = mlp_blocks(64, 8, at::kFloat);
  const auto inputs = random_inputs({5, 8}, at::kFloat);
  for (const auto& block : drift(blocks, inputs.x1, inputs.x2, {}, exact())) {
    EXPECT_EQ(block.reconstruction, 0);
    EXPECT_EQ(block.gradient, 0);
  }
}

TEST(ExactTest, WorksInFloat64) {
  torch::manual_seed(0);
  EXPECT_TRUE(
      EqualsOracle(mlp_blocks(32, 8), random_inputs({5, 8}), exact(40)));
}

TEST(ExactTest, BfloatBranchesRunOnFloatStreams) {
  torch::manual_seed(0);
  EXPECT_TRUE(EqualsOracle(
      mlp_blocks(32, 8, at::kBFloat16),
      random_inputs({5, 8}, at::kBFloat16),
      exact().stream_dtype(at::kFloat)));
}

TEST(ExactTest, GradientsAreThoseOfEveryPlan) {
  torch::manual_seed(0);
  const auto blocks = mlp_blocks(6, 8, at::kFloat);
  const auto inputs = random_inputs({5, 8}, at::kFloat);
  for (const auto& options :
       {exact().save_every(2), exact().store_last(3), exact().store_last(6)}) {
    EXPECT_TRUE(EqualsOracle(blocks, inputs, options));
  }
}

TEST(ExactTest, MergedOutputIsThatOfTheStreams) {
  torch::manual_seed(0);
  const auto blocks = mlp_blocks(4, 8, at::kFloat);
  const auto x = torch::randn({5, 16});
  const auto halves = x.chunk(2, -1);
  const auto y = plain(blocks, exact())({halves[0], halves[1], {}});
  EXPECT_TRUE(BitEqual(
      reversible_residual(blocks, x, {}, exact()),
      torch::cat({std::get<0>(y), std::get<1>(y)}, -1)));
}

TEST(ExactTest, InverseIsExact) {
  torch::manual_seed(0);
  const auto blocks = mlp_blocks(32, 8, at::kFloat);
  const auto grid = [] {
    return round_straight_through(torch::randn({5, 8}), kBits);
  };
  const auto x1 = grid();
  const auto x2 = grid();
  const auto [y1, y2] = reversible_sequence(blocks, x1, x2, {}, exact());
  const auto [z1, z2] =
      reversible_sequence_inverse(blocks, y1, y2, {}, exact());
  EXPECT_TRUE(BitEqual({z1, z2}, {x1, x2}));
}

TEST(ExactTest, HasSecondDerivatives) {
  torch::manual_seed(0);
  const auto blocks = mlp_blocks(3, 4);
  const auto inputs = random_inputs({3, 4});
  const auto penalty = [&](const Stack& stack) {
    const auto [y1, y2] = stack(inputs);
    const auto gradient = torch::autograd::grad(
        {weighted_sum({y1, y2})}, {inputs.x1}, {}, true, true)[0];
    return torch::autograd::grad(
        {gradient.square().sum()}, parameters_of(blocks), {}, {}, false, true);
  };
  EXPECT_TRUE(AllClose(
      penalty(reversible(blocks, exact(40))),
      penalty(plain(blocks, exact(40))),
      kFloat64Tolerance));
}

// A branch that returns `value` everywhere.
Branch constant(double value) {
  return Branch::function(
      [value](const Tensor& x, at::TensorList, at::TensorList) {
        return torch::full_like(x, value);
      });
}

TEST(ExactTest, LeavingTheRangeThrowsAndSaysWhichSettingHolds) {
  const Blocks blocks{
      {constant(1), constant(1)}, {constant(1), constant(3000.5)}};
  EXPECT_THROW_WITH(
      reversible(blocks, exact())(random_inputs({3, 4}, at::kFloat)),
      c10::ValueError,
      "torchrev::reversible_sequence",
      "below 2048",
      "fraction_bits = 12",
      "G of block 1",
      "fraction_bits(11)",
      "stream_dtype(torch::kDouble)");
  const auto x = torch::zeros({3, 4});
  EXPECT_NO_THROW(reversible_sequence(blocks, x, x, {}, exact(11)));
}

TEST(ExactTest, InputOutOfRangeThrows) {
  const auto x = torch::full({3, 4}, -5000.0);
  EXPECT_THROW_WITH(
      reversible_sequence(mlp_blocks(1, 4, at::kFloat), x, x, {}, exact()),
      c10::ValueError,
      "in the input",
      "5000",
      "fraction_bits(10)");
}

TEST(ExactTest, BeyondEveryGridItNamesWhatElseHelps) {
  const Blocks blocks{{constant(1e9), constant(1)}};
  EXPECT_THROW_WITH(
      reversible(blocks, exact())(random_inputs({3, 4}, at::kFloat)),
      c10::ValueError,
      "Normalise the branches",
      "stream_dtype(torch::kDouble)");
}

TEST(ExactTest, KeptBlocksAreChecked) {
  const Blocks blocks{{constant(1), constant(3000)}};
  EXPECT_THROW_WITH(
      reversible(
          blocks, exact().store_last(1))(random_inputs({3, 4}, at::kFloat)),
      c10::ValueError,
      "G of block 0");
}

TEST(ExactTest, WhatIsNotFiniteIsNotJudged) {
  const Blocks blocks{{constant(1), constant(INFINITY)}};
  EXPECT_NO_THROW(
      reversible(blocks, exact())(random_inputs({3, 4}, at::kFloat)));
}

TEST(ExactTest, OtherCouplingsThrow) {
  EXPECT_THROW_WITH(
      reversible(mlp_blocks(1, 4), exact().coupling(affine_coupling()))(
          random_inputs({3, 4})),
      c10::ValueError,
      "additive coupling",
      "fraction_bits = 12");
}

TEST(ExactTest, BitsThatTheStreamHasNotThrow) {
  const auto run = [](int64_t bits, at::ScalarType dtype) {
    reversible(
        mlp_blocks(1, 4, dtype), exact(bits))(random_inputs({3, 4}, dtype));
  };
  EXPECT_THROW_WITH(
      run(23, at::kFloat), c10::ValueError, "`fraction_bits`", "23");
  EXPECT_THROW_WITH(
      run(-1, at::kFloat), c10::ValueError, "`fraction_bits`", "-1");
  EXPECT_THROW_WITH(
      run(4, at::kBFloat16),
      c10::ValueError,
      "BFloat16",
      "stream_dtype(torch::kFloat)");
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
