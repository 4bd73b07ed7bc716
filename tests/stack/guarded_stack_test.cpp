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

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
