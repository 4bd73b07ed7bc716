#include <torchrev/torchrev.h>

#include <string>

#include "ops/ops_resolver.h"
#include "support/oracle.h"
#include "support/support.h"

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

// What streams hold, and what they are compared with.
constexpr double kThreshold = 0.3F;
// Behind the sum with so large a number, less of it is left.
constexpr double kLarge = 1e4;

using Decide = std::function<Tensor(const Tensor&)>;

Tensor forgetful(const Tensor& up) {
  return up;
}

Tensor remembering(const Tensor& up) {
  return remember("up", up);
}

/// 3 x where x has reached the threshold, else -x.
Branch threshold(const Decide& decide) {
  return Branch::function(
      [decide](const Tensor& x, at::TensorList, at::TensorList) {
        return at::where(decide(x.ge(kThreshold)), 3 * x, -x);
      },
      {});
}

Branch enlarge() {
  return Branch::function(
      [](const Tensor& x, at::TensorList, at::TensorList) {
        return kLarge * x;
      },
      {});
}

/// Depth 1: F sees a stream that stands on the threshold, and is rebuilt from a
/// large one.
Blocks blocks_of(const Decide& decide) {
  return {{threshold(decide), enlarge()}};
}

Inputs on_threshold() {
  auto inputs = random_inputs({64, 8}, at::kFloat);
  inputs.x2 = at::full({64, 8}, kThreshold, at::kFloat).set_requires_grad(true);
  return inputs;
}

class RememberTest : public testing::Test {
 protected:
  Inputs inputs = on_threshold();
};

TEST_F(RememberTest, RoundingFlipsADecisionThatIsNotRemembered) {
  EXPECT_FALSE(MatchesPlain(
      blocks_of(forgetful),
      inputs,
      kFloat32Tolerance,
      ReversibleOptions().drift_tolerance(torch::nullopt)));
}

TEST_F(RememberTest, TheDriftGuardSeesTheFlip) {
  EXPECT_THROW_WITH(
      train(reversible(blocks_of(forgetful)), inputs, {}),
      c10::ValueError,
      "the same result twice");
}

TEST_F(RememberTest, RememberedDecisionsAreThoseOfForward) {
  EXPECT_TRUE(MatchesPlain(blocks_of(remembering), inputs, kFloat32Tolerance));
}

TEST_F(RememberTest, EachChunkRemembersItsOwn) {
  EXPECT_TRUE(MatchesWhole(
      blocks_of(remembering),
      inputs,
      ReversibleOptions().chunks_f(4).chunk_dim(0),
      kFloat32Tolerance));
}

TEST_F(RememberTest, BlocksThatKeepTheirActivationsMatchPlain) {
  EXPECT_TRUE(MatchesPlain(
      blocks_of(remembering),
      inputs,
      kFloat32Tolerance,
      ReversibleOptions().store_last(1)));
}

// The inner stack runs forward once more in the recompute of the outer branch.
TEST_F(RememberTest, AStackWithinABranchRemembersWithIt) {
  const auto inner = blocks_of(remembering);
  const auto outer = Branch::function(
      [inner](const Tensor& x, at::TensorList, at::TensorList) {
        const auto [y1, y2] = reversible_sequence(inner, x, x);
        return y1 + y2 / kLarge;
      },
      {});
  EXPECT_TRUE(MatchesPlain({{outer, enlarge()}}, inputs, kFloat32Tolerance));
}

// Its trial runs are no part of the branch.
TEST_F(RememberTest, AStackThatPlansWithinABranchRemembersWithIt) {
  nn::ReversibleSequential inner(
      nn::ReversibleSequentialOptions(ReversibleOptions().duplicate())
          .memory_budget(1 << 20));
  inner->push_back(threshold(remembering), enlarge());
  const auto outer = Branch::function(
      [inner](const Tensor& x, at::TensorList, at::TensorList) mutable {
        return inner->forward(x) / kLarge;
      },
      {});
  EXPECT_TRUE(MatchesPlain({{outer, enlarge()}}, inputs, kFloat32Tolerance));
}

TEST_F(RememberTest, SeveralCallsOfOneNameAreToldApartByOrder) {
  const auto decide = [](const Tensor& up) {
    const auto down = remember("side", up.logical_not());
    return remember("side", up).logical_and(down.logical_not());
  };
  EXPECT_TRUE(MatchesPlain(blocks_of(decide), inputs, kFloat32Tolerance));
}

TEST_F(RememberTest, ARetainedGraphRemembersForEachPass) {
  const auto blocks = blocks_of(remembering);
  const auto [y1, y2] = reversible_sequence(blocks, inputs.x1, inputs.x2);
  const auto loss = weighted_sum({y1, y2});
  const auto pass = [&](bool retain) {
    return torch::autograd::grad({loss}, {inputs.x2}, {}, retain)[0];
  };
  const auto first = pass(true);
  EXPECT_TRUE(BitEqual(pass(false), first));
}

TEST_F(RememberTest, DoubleBackwardRemembers) {
  const auto penalty = [&](const Stack& stack) {
    const auto [y1, y2] = stack(inputs);
    const auto loss = weighted_sum({y1.pow(2), y2});
    const auto gradient = torch::autograd::grad(
        {loss}, {inputs.x2}, {}, /*retain_graph=*/true, /*create_graph=*/true);
    return torch::autograd::grad({gradient[0].pow(2).sum()}, {inputs.x2})[0];
  };
  const auto blocks = blocks_of(remembering);
  EXPECT_TRUE(AllClose(
      penalty(reversible(blocks)), penalty(plain(blocks)), kFloat32Tolerance));
}

TEST_F(RememberTest, DecisionsAreKeptUntilBackwardAndNoLonger) {
  const auto live = [&](const Decide& decide, bool backward) {
    const auto before = MemoryMeter::live();
    const auto [y1, y2] = reversible_sequence(
        blocks_of(decide),
        inputs.x1,
        inputs.x2,
        {},
        ReversibleOptions().drift_tolerance(torch::nullopt));
    const auto loss = weighted_sum({y1, y2});
    if (backward) {
      torch::autograd::grad({loss}, {inputs.x2});
    }
    return MemoryMeter::live() - before;
  };
  EXPECT_EQ(
      live(remembering, false) - live(forgetful, false), inputs.x2.numel());
  EXPECT_EQ(live(remembering, true), live(forgetful, true));
}

TEST_F(RememberTest, OutsideOfABranchReturnsTheTensorItself) {
  const auto up = at::ones({3}, at::kBool);
  EXPECT_TRUE(remember("up", up).is_same(up));
}

TEST_F(RememberTest, TorchScriptBranchesRemember) {
  torch::jit::Module module("Threshold");
  module.define(
      R"(
    def forward(self, x):
        up = torchrev.remember("up", x >= 0.3)
        return torch.where(up, 3 * x, -x)
  )",
      std::make_shared<OpsResolver>());
  const Blocks blocks{{module, enlarge()}};
  EXPECT_TRUE(MatchesPlain(blocks, inputs, kFloat32Tolerance));
}

// --- Errors -----------------------------------------------------------------

TEST(RememberErrorTest, ThrowsForWhatIsNoDecision) {
  EXPECT_THROW_WITH(
      remember("scores", at::ones({2})), c10::TypeError, "scores", "Float");
  EXPECT_THROW_WITH(remember("scores", Tensor()), c10::TypeError, "undefined");
}

/// Runs a step whose branch calls `decide(run, up)`, run = 0 in forward and 1
/// in the recompute.
void step_that(const std::function<Tensor(int, const Tensor&)>& decide) {
  int run = 0;
  const auto blocks =
      blocks_of([&](const Tensor& up) { return decide(run++, up); });
  const auto inputs = on_threshold();
  const auto [y1, y2] = reversible_sequence(blocks, inputs.x1, inputs.x2);
  run = 1;
  weighted_sum({y1, y2}).backward();
}

TEST(RememberErrorTest, ThrowsForAnotherNameInTheRecompute) {
  EXPECT_THROW_WITH(
      step_that([](int run, const Tensor& up) {
        return remember(run == 0 ? "first" : "second", up);
      }),
      c10::ValueError,
      "`first` of shape [64, 8]",
      "`second`",
      "same order");
}

TEST(RememberErrorTest, ThrowsForAnotherShapeInTheRecompute) {
  EXPECT_THROW_WITH(
      step_that([](int run, const Tensor& up) {
        remember("rows", run == 0 ? up.select(0, 0) : up);
        return up;
      }),
      c10::ValueError,
      "`rows` of shape [8]",
      "[64, 8]");
}

TEST(RememberErrorTest, ThrowsForMoreInTheRecompute) {
  EXPECT_THROW_WITH(
      step_that([](int run, const Tensor& up) {
        return run == 0 ? up : remember("late", up);
      }),
      c10::ValueError,
      "nothing more",
      "`late`");
}

TEST(RememberErrorTest, ThrowsForLessInTheRecompute) {
  EXPECT_THROW_WITH(
      step_that([](int run, const Tensor& up) {
        return run == 0 ? remember("early", up) : up;
      }),
      c10::ValueError,
      "remember 1 times",
      "got 0");
}

TEST(RememberErrorTest, ThrowsForADecisionThatWasWrittenTo) {
  EXPECT_THROW_WITH(
      step_that([](int, const Tensor& up) {
        return remember("up", up).logical_not_().logical_not_();
      }),
      c10::ValueError,
      "`up`",
      "modified in place",
      "clone");
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
