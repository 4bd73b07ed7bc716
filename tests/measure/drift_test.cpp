#include <cmath>

#include "support/oracle.h"

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

TEST(DriftTest, ReportsTheErrorsOfEachBlock) {
  torch::manual_seed(0);
  const auto blocks = mlp_blocks(32, 8, at::kFloat);
  const auto inputs = random_inputs({16, 8}, at::kFloat);
  const auto report = drift(blocks, inputs.x1, inputs.x2);
  ASSERT_EQ(report.size(), 32u);
  for (const auto& block : report) {
    EXPECT_LT(block.reconstruction, kFloat32Tolerance);
    EXPECT_LT(block.gradient, kFloat32Tolerance);
  }
  EXPECT_GT(report.front().reconstruction, 0);
  EXPECT_GT(report.front().gradient, 0);
  EXPECT_GT(report.front().reconstruction, report.back().reconstruction);
}

TEST(DriftTest, IsThatOfTheRebuiltStreams) {
  torch::manual_seed(0);
  const auto blocks = unnormalised_blocks(16, 8, at::kFloat);
  const auto inputs = random_inputs({16, 8}, at::kFloat);
  const torch::NoGradGuard no_grad;
  const auto [y1, y2] = reversible(blocks)(inputs);
  const auto [x1, x2] = reversible_sequence_inverse(blocks, y1, y2);
  const auto x = torch::stack({inputs.x1, inputs.x2}).to(at::kDouble);
  const auto rebuilt = torch::stack({x1, x2}).to(at::kDouble);
  EXPECT_NEAR(
      drift(blocks, inputs.x1, inputs.x2)[0].reconstruction,
      ((rebuilt - x).norm() / x.norm()).item<double>(),
      1e-12);
}

TEST(DriftTest, OfAnUnnormalisedStackIsLarge) {
  torch::manual_seed(0);
  const auto inputs = random_inputs({32, 16}, at::kFloat);
  const auto report =
      drift(unnormalised_blocks(256, 16, at::kFloat), inputs.x1, inputs.x2);
  // Or not a number at all.
  EXPECT_FALSE(report[0].reconstruction <= 0.05);
  EXPECT_FALSE(report[0].gradient <= 0.05);
}

TEST(DriftTest, ReplaysWhatIsDrawn) {
  torch::manual_seed(0);
  const auto branch = [] {
    return torch::nn::Sequential(linear(8), torch::nn::Dropout(0.5));
  };
  const auto inputs = random_inputs({16, 8});
  for (const auto& block : drift(
           {{branch(), branch()}, {branch(), branch()}},
           inputs.x1,
           inputs.x2)) {
    EXPECT_LT(block.reconstruction, kFloat64Tolerance);
    EXPECT_LT(block.gradient, kFloat64Tolerance);
  }
}

TEST(DriftTest, LeavesNoTrace) {
  torch::nn::BatchNorm1d norm(8);
  norm->to(at::kDouble);
  const Blocks blocks{{norm, linear(8)}};
  const auto inputs = random_inputs({16, 8});
  const auto generator = at::detail::getDefaultCPUGenerator();
  const auto state = generator.get_state();
  const auto mean = norm->running_mean.clone();
  drift(blocks, inputs.x1, inputs.x2);
  EXPECT_TRUE(BitEqual(generator.get_state(), state));
  EXPECT_TRUE(BitEqual(norm->running_mean, mean));
  EXPECT_FALSE(inputs.x1.grad().defined());
  for (const auto& parameter : parameters_of(blocks)) {
    EXPECT_FALSE(parameter.grad().defined());
  }
}

TEST(DriftTest, OfAModuleIsThatOfItsStreams) {
  torch::manual_seed(0);
  const auto blocks = mlp_blocks(4, 8, at::kFloat);
  const auto x = torch::randn({5, 16});
  nn::ReversibleSequential stack;
  for (const auto& block : blocks) {
    stack->push_back(block.f, block.g);
  }
  const auto halves = x.chunk(2, -1);
  const auto expected = drift(blocks, halves[0], halves[1]);
  const auto actual = stack->drift(x);
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    EXPECT_EQ(actual[i].reconstruction, expected[i].reconstruction);
    EXPECT_EQ(actual[i].gradient, expected[i].gradient);
  }
}

TEST(DriftTest, OfAModuleChecksItsInput) {
  nn::ReversibleSequential stack;
  EXPECT_TRUE(stack->drift(torch::zeros({2, 4})).empty());
  stack->push_back(linear(1), linear(1));
  EXPECT_THROW_WITH(
      stack->drift(torch::zeros({2, 1}, at::kDouble)),
      c10::ValueError,
      "torchrev::nn::ReversibleSequential",
      "even");
}

TEST(DriftTest, OfManyBfloatsIsFinite) {
  torch::manual_seed(0);
  const auto x = torch::randn({70000, 4}).to(at::kBFloat16);
  for (const auto& block : drift(mlp_blocks(1, 4, at::kBFloat16), x, x)) {
    EXPECT_LT(block.gradient, 0.05);
  }
}

TEST(DriftTest, Prints) {
  std::ostringstream text;
  text << BlockDrift{4.1e-6, 2.3e-6};
  EXPECT_EQ(text.str(), "reconstruction 4.1e-06, gradient 2.3e-06");
}

TEST(DriftTest, WithoutBlocksThrows) {
  EXPECT_THROW_WITH(
      drift({}, torch::zeros({2, 2}), torch::zeros({2, 2})),
      c10::ValueError,
      "torchrev::drift",
      "empty list");
}

TEST(CheckDeferredTest, FindsNothingOnTheCpu) {
  EXPECT_NO_THROW(check_deferred());
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
