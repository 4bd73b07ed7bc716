#include "support/support.h"

#include <string>
#include <tuple>

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

double tolerance_of(at::ScalarType dtype) {
  return dtype == at::kDouble ? kFloat64Tolerance : kFloat32Tolerance;
}

class ReversibleSequenceTest
    : public testing::TestWithParam<std::tuple<int64_t, at::ScalarType>> {
 protected:
  ReversibleSequenceTest() {
    torch::manual_seed(1);
    std::tie(depth, dtype) = GetParam();
  }

  int64_t depth = 0;
  at::ScalarType dtype = at::kDouble;
};

TEST_P(ReversibleSequenceTest, ForwardEqualsCouplingExactly) {
  const auto blocks = mlp_blocks(depth, 8, dtype);
  const auto inputs = random_inputs({5, 8}, dtype);
  const auto [y1, y2] = reversible(blocks)(inputs);
  const auto [z1, z2] = plain(blocks)(inputs);
  EXPECT_TRUE(BitEqual(y1, z1));
  EXPECT_TRUE(BitEqual(y2, z2));
}

TEST_P(ReversibleSequenceTest, GradientMatchesPlainAutograd) {
  EXPECT_TRUE(MatchesPlain(
      mlp_blocks(depth, 8, dtype),
      random_inputs({5, 8}, dtype),
      tolerance_of(dtype)));
}

TEST_P(ReversibleSequenceTest, InverseRecoversInput) {
  // Rounding of float32 relative to that of float64.
  const double tolerance = dtype == at::kDouble ? 1e-12 : 1e-12 * (1 << 29);
  const auto blocks = mlp_blocks(depth, 8, dtype);
  const auto inputs = random_inputs({5, 8}, dtype);
  const auto [y1, y2] = reversible(blocks)(inputs);
  const auto [x1, x2] = reversible_sequence_inverse(blocks, y1, y2);
  EXPECT_TRUE(AllClose(x1, inputs.x1, tolerance));
  EXPECT_TRUE(AllClose(x2, inputs.x2, tolerance));
}

INSTANTIATE_TEST_SUITE_P(
    DepthAndDtype,
    ReversibleSequenceTest,
    testing::Combine(
        testing::Values(1, 2, 8, 32), testing::Values(at::kDouble, at::kFloat)),
    [](const auto& info) {
      return "Depth" + std::to_string(std::get<0>(info.param)) +
             at::toString(std::get<1>(info.param));
    });

TEST(ReversibleBlockTest, EqualsSequenceOfOne) {
  torch::manual_seed(1);
  const auto blocks = mlp_blocks(1, 4);
  const auto inputs = random_inputs({3, 4});
  const Stack block = [&](const Inputs& in) {
    return reversible_block(blocks[0].f, blocks[0].g, in.x1, in.x2);
  };
  const auto parameters = parameters_of(blocks);
  EXPECT_TRUE(Matches(
      train(block, inputs, parameters),
      train(plain(blocks), inputs, parameters),
      kFloat64Tolerance));
}

TEST(ReversibleBlockTest, InverseRecoversInput) {
  torch::manual_seed(1);
  const auto blocks = mlp_blocks(1, 4);
  const auto& [f, g] = blocks[0];
  const auto inputs = random_inputs({3, 4});
  const auto [y1, y2] = reversible_block(f, g, inputs.x1, inputs.x2);
  const auto [x1, x2] = reversible_block_inverse(f, g, y1, y2);
  EXPECT_TRUE(AllClose(x1, inputs.x1, 1e-12));
  EXPECT_TRUE(AllClose(x2, inputs.x2, 1e-12));
}

TEST(ReversibleTest, GradientMatchesCentralDifferences) {
  torch::manual_seed(1);
  const auto blocks = mlp_blocks(3, 3);
  const auto inputs = random_inputs({2, 3});
  auto variables = parameters_of(blocks);
  variables.insert(variables.end(), {inputs.x1, inputs.x2});
  const auto loss = [&] {
    const auto [y1, y2] = reversible(blocks)(inputs);
    return weighted_sum({y1, y2});
  };
  EXPECT_TRUE(GradientMatchesCentralDifference(loss, variables));
}

TEST(ReversibleTest, InverseBuildsNoGraphWithoutGradMode) {
  const auto blocks = mlp_blocks(2, 4);
  const auto inputs = random_inputs({3, 4});
  torch::NoGradGuard no_grad;
  const auto [x1, x2] =
      reversible_sequence_inverse(blocks, inputs.x1, inputs.x2);
  EXPECT_FALSE(x1.requires_grad());
  EXPECT_FALSE(x2.requires_grad());
}

TEST(ReversibleTest, InverseRecoversImagesSplitByChannel) {
  torch::manual_seed(1);
  const auto blocks = conv_blocks(32, 3);
  const auto options = ReversibleOptions().split(1);
  const Tensor x = torch::randn({2, 6, 5, 5}, at::kDouble).requires_grad_();
  const Tensor y = reversible_residual(blocks, x, {}, options);
  const Tensor rebuilt = reversible_residual_inverse(blocks, y, {}, options);
  EXPECT_TRUE(AllClose(rebuilt, x, 1e-12));
}

TEST(ReversibleTest, BuildsNoGraphWithoutGradMode) {
  const auto blocks = mlp_blocks(2, 4);
  const auto inputs = random_inputs({3, 4});
  const auto [z1, z2] = plain(blocks)(inputs);
  torch::NoGradGuard no_grad;
  const auto [y1, y2] = reversible(blocks)(inputs);
  EXPECT_FALSE(y1.requires_grad());
  EXPECT_FALSE(y2.requires_grad());
  EXPECT_TRUE(BitEqual(y1, z1));
  EXPECT_TRUE(BitEqual(y2, z2));
}

TEST(ReversibleTest, LeavesTheInputsAlone) {
  const auto inputs = random_inputs({3, 4});
  const Tensor before = inputs.x1.detach().clone();
  const void* data = inputs.x1.data_ptr();
  const auto version = inputs.x1._version();
  train(reversible(mlp_blocks(2, 4)), inputs, {});
  EXPECT_TRUE(BitEqual(inputs.x1, before));
  EXPECT_EQ(inputs.x1.data_ptr(), data);
  EXPECT_EQ(inputs.x1._version(), version);
  EXPECT_TRUE(inputs.x1.requires_grad());
}

TEST(ReversibleTest, ConstantInputTrains) {
  auto inputs = random_inputs({3, 4});
  inputs.x1.set_requires_grad(false);
  inputs.x2.set_requires_grad(false);
  EXPECT_TRUE(MatchesPlain(mlp_blocks(3, 4), inputs));
}

TEST(ReversibleTest, OneConstantStreamTrains) {
  auto inputs = random_inputs({3, 4});
  inputs.x2.set_requires_grad(false);
  EXPECT_TRUE(MatchesPlain(mlp_blocks(3, 4), inputs));
}

TEST(ReversibleTest, NonContiguousInputsMatchPlain) {
  auto inputs = random_inputs({4, 3});
  inputs.x1 = torch::randn({3, 4}, at::kDouble).t().requires_grad_();
  EXPECT_TRUE(MatchesPlain(mlp_blocks(2, 3), inputs));
}

TEST(ReversibleTest, EmptyBatchMatchesPlain) {
  EXPECT_TRUE(MatchesPlain(mlp_blocks(2, 4), random_inputs({0, 4})));
}

TEST(ReversibleTest, BFloat16MatchesPlain) {
  // bfloat16 has 8 bits: rebuilt streams differ in the last of them.
  constexpr double kTolerance = 1.0 / 32;
  torch::manual_seed(1);
  const Blocks blocks = {{linear(4, at::kBFloat16), linear(4, at::kBFloat16)}};
  EXPECT_TRUE(
      MatchesPlain(blocks, random_inputs({3, 4}, at::kBFloat16), kTolerance));
}

TEST(ReversibleTest, GradReturnsGradientsAndTouchesNothing) {
  torch::manual_seed(1);
  const auto blocks = mlp_blocks(3, 4);
  const auto inputs = random_inputs({3, 4});
  auto variables = parameters_of(blocks);
  const auto expected = train(plain(blocks), inputs, variables).gradients;
  variables.insert(variables.begin(), {inputs.x1, inputs.x2});
  const auto [y1, y2] = reversible(blocks)(inputs);
  const auto gradients =
      torch::autograd::grad({weighted_sum({y1, y2})}, variables);
  EXPECT_TRUE(AllClose(gradients, expected, kFloat64Tolerance));
  for (const Tensor& variable : variables) {
    EXPECT_FALSE(variable.grad().defined());
  }
}

TEST(ReversibleTest, BackwardAccumulatesIntoGrad) {
  const auto blocks = mlp_blocks(2, 4);
  const auto inputs = random_inputs({3, 4});
  const auto backward = [&] {
    const auto [y1, y2] = reversible(blocks)(inputs);
    weighted_sum({y1, y2}).backward();
  };
  backward();
  const Tensor once = inputs.x1.grad().clone();
  backward();
  EXPECT_TRUE(BitEqual(inputs.x1.grad(), 2 * once));
}

TEST(ReversibleResidualTest, SplitsAndMergesHalves) {
  const auto blocks = mlp_blocks(2, 4);
  const Tensor x = torch::randn({3, 8}, at::kDouble);
  const auto halves = x.chunk(2, -1);
  const auto [z1, z2] = plain(blocks)({halves[0], halves[1], {}});
  EXPECT_TRUE(
      BitEqual(reversible_residual(blocks, x), torch::cat({z1, z2}, -1)));
}

TEST(ReversibleResidualTest, DuplicateIsTheMeanOfTheStreams) {
  const auto blocks = mlp_blocks(2, 4);
  const Tensor x = torch::randn({3, 4}, at::kDouble);
  const auto [z1, z2] = plain(blocks)({x, x, {}});
  const Tensor y =
      reversible_residual(blocks, x, {}, ReversibleOptions().duplicate());
  EXPECT_TRUE(BitEqual(y, (z1 + z2) / 2));
}

// The gradient of reversible_residual against that of plain autograd over the
// same split (or copy) and merge.
testing::AssertionResult ResidualGradientMatches(
    const ReversibleOptions& options) {
  const auto blocks = mlp_blocks(3, 4);
  const bool split = options.streams().kind == Streams::Kind::kSplit;
  const Tensor x =
      torch::randn({3, split ? 8 : 4}, at::kDouble).requires_grad_();
  const auto halves = split ? x.chunk(2, -1) : std::vector<Tensor>{x, x};
  const auto [z1, z2] = plain(blocks)({halves[0], halves[1], {}});
  const Tensor z = split ? torch::cat({z1, z2}, -1) : (z1 + z2) / 2;
  const Tensor y = reversible_residual(blocks, x, {}, options);
  auto variables = parameters_of(blocks);
  variables.push_back(x);
  return AllClose(
      torch::autograd::grad({weighted_sum({y})}, variables),
      torch::autograd::grad({weighted_sum({z})}, variables),
      kFloat64Tolerance);
}

TEST(ReversibleResidualTest, GradientOfHalvesMatchesPlain) {
  EXPECT_TRUE(ResidualGradientMatches(ReversibleOptions().split()));
}

TEST(ReversibleResidualTest, GradientOfDuplicatesMatchesPlain) {
  EXPECT_TRUE(ResidualGradientMatches(ReversibleOptions().duplicate()));
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
