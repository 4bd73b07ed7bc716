#include <cmath>

#include "support/oracle.h"

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

Step step_of(
    const Blocks& blocks,
    const Inputs& inputs,
    const ReversibleOptions& options = {}) {
  return train(reversible(blocks, options), inputs, parameters_of(blocks));
}

TEST(DriftGuardTest, CatchesAnUnnormalisedStackOf256Blocks) {
  torch::manual_seed(0);
  const auto blocks = unnormalised_blocks(256, 16, at::kFloat);
  EXPECT_THROW_WITH(
      step_of(blocks, random_inputs({32, 16}, at::kFloat)),
      c10::ValueError,
      "torchrev::reversible_sequence",
      "before block ",
      "drift_tolerance = 0.05",
      "save_every",
      "stream_dtype",
      "fraction_bits");
}

TEST(DriftGuardTest, PassesAPreNormStackOf256Blocks) {
  torch::manual_seed(0);
  const auto blocks = mlp_blocks(256, 16, at::kFloat);
  EXPECT_NO_THROW(step_of(blocks, random_inputs({32, 16}, at::kFloat)));
}

TEST(DriftGuardTest, WhatItNamesHelps) {
  torch::manual_seed(0);
  const auto blocks = unnormalised_blocks(48, 16, at::kFloat);
  const auto inputs = random_inputs({32, 16}, at::kFloat);
  EXPECT_THROW(step_of(blocks, inputs), c10::ValueError);
  EXPECT_NO_THROW(step_of(blocks, inputs, ReversibleOptions().save_every(8)));
  EXPECT_NO_THROW(
      step_of(blocks, inputs, ReversibleOptions().stream_dtype(at::kDouble)));
}

TEST(DriftGuardTest, CatchesRandomNumbersThatAreNotPreserved) {
  const torch::nn::Sequential dropping(linear(4), torch::nn::Dropout(0.5));
  EXPECT_THROW_WITH(
      step_of(
          {{dropping, linear(4)}},
          random_inputs({30, 4}),
          ReversibleOptions().preserve_rng_state(false)),
      c10::ValueError,
      "same result twice");
}

TEST(DriftGuardTest, NoneTurnsItOff) {
  torch::manual_seed(0);
  const auto blocks = unnormalised_blocks(256, 16, at::kFloat);
  EXPECT_NO_THROW(step_of(
      blocks,
      random_inputs({32, 16}, at::kFloat),
      ReversibleOptions().drift_tolerance(torch::nullopt)));
}

// The guard alone: the check of the first call finds such a branch before.
ReversibleOptions unverified() {
  return ReversibleOptions().verify_first_call(false);
}

// x plus a number that grows with every call: no function of its input.
Branch unsteady() {
  return Branch::function([calls = std::make_shared<double>()](
                              const Tensor& x, at::TensorList, at::TensorList) {
    return x.tanh() + 10 * (*calls)++;
  });
}

TEST(DriftGuardTest, CatchesABranchThatIsNoFunctionOfItsInput) {
  EXPECT_THROW_WITH(
      step_of({{unsteady(), linear(4)}}, random_inputs({3, 4}), unverified()),
      c10::ValueError,
      "before block 0",
      "same result twice");
}

TEST(DriftGuardTest, InputThatNeedsNoGradientIsNotRebuiltAndNotJudged) {
  auto inputs = random_inputs({3, 4});
  inputs.x1.requires_grad_(false);
  inputs.x2.requires_grad_(false);
  EXPECT_THROW_WITH(
      step_of(
          {{linear(4), linear(4)}, {unsteady(), linear(4)}},
          inputs,
          unverified()),
      c10::ValueError,
      "before block 1");
  EXPECT_NO_THROW(step_of({{unsteady(), linear(4)}}, inputs, unverified()));
}

TEST(DriftGuardTest, WatchesTheStreamsOfEachCall) {
  EXPECT_THROW_WITH(
      step_of(
          {{linear(4), linear(4)}, {unsteady(), linear(4)}},
          random_inputs({3, 4}),
          unverified().save_every(1)),
      c10::ValueError,
      "before block 1");
}

TEST(DriftGuardTest, ForwardThatIsNotFiniteIsNotJudged) {
  for (const double value : {HUGE_VAL, std::nan("")}) {
    auto inputs = random_inputs({3, 4});
    {
      const torch::NoGradGuard no_grad;
      inputs.x1.fill_(value);
    }
    EXPECT_NO_THROW(step_of({{linear(4), linear(4)}}, inputs));
  }
}

TEST(DriftGuardTest, ForwardThatOverflowsOnItsWayIsNotJudged) {
  const auto overflowing =
      Branch::function([](const Tensor& x, at::TensorList, at::TensorList) {
        return x * 1e200 * 1e200;
      });
  EXPECT_NO_THROW(step_of(
      {{linear(4), linear(4)}, {overflowing, linear(4)}},
      random_inputs({3, 4})));
}

TEST(DriftGuardTest, StreamsOfZerosPass) {
  auto inputs = random_inputs({3, 4});
  {
    const torch::NoGradGuard no_grad;
    inputs.x1.zero_();
    inputs.x2.zero_();
  }
  EXPECT_NO_THROW(step_of(mlp_blocks(2, 4), inputs));
}

TEST(DriftGuardTest, RunsInEveryPassOverARetainedGraph) {
  const auto inputs = random_inputs({3, 4});
  const auto [y1, y2] =
      reversible({{unsteady(), linear(4)}}, unverified())(inputs);
  const auto loss = y1.sum() + y2.sum();
  for (int pass = 0; pass < 2; ++pass) {
    EXPECT_THROW(loss.backward({}, /*retain_graph=*/true), c10::ValueError);
  }
}

TEST(DriftGuardTest, LeavesTheGeneratorAlone) {
  const auto blocks = mlp_blocks(2, 4);
  const auto inputs = random_inputs({3, 4});
  const auto generator = at::detail::getDefaultCPUGenerator();
  const auto before = generator.get_state();
  const auto [y1, y2] = reversible(blocks)(inputs);
  (y1.sum() + y2.sum()).backward();
  EXPECT_TRUE(BitEqual(generator.get_state(), before));
}

TEST(DriftGuardTest, KeepsAFixedNumberOfBytesWhateverTheDepth) {
  const auto kept = [](int64_t depth) {
    const auto blocks = mlp_blocks(depth, 4, at::kFloat);
    const auto inputs = random_inputs({300, 4}, at::kFloat);
    const auto bytes = [&](const ReversibleOptions& options) {
      const auto before = MemoryMeter::live();
      const auto y = reversible(blocks, options)(inputs);
      return MemoryMeter::live() - before;
    };
    return bytes({}) -
           bytes(ReversibleOptions().drift_tolerance(torch::nullopt));
  };
  // Fingerprints, their positions, and whether the end is finite.
  EXPECT_EQ(kept(1), 4 * 2 * 128 * 4 + 128 * 8 + 1);
  EXPECT_EQ(kept(16), kept(1));
  EXPECT_EQ(kept(64), kept(1));
}

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
