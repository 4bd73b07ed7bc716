#include <torchrev/torchrev.h>

#include "support/support.h"

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 6;

torch::nn::Sequential dropping(double p) {
  torch::nn::Sequential module(
      torch::nn::Linear(kWidth, kWidth),
      torch::nn::Dropout(p),
      torch::nn::Linear(kWidth, kWidth),
      torch::nn::Dropout(p));
  module->to(at::kDouble);
  return module;
}

Blocks dropping_blocks(int64_t depth) {
  Blocks blocks;
  for (int64_t i = 0; i < depth; ++i) {
    blocks.push_back({dropping(0.3), dropping(0.6)});
  }
  return blocks;
}

Tensor generator_state() {
  return at::detail::getDefaultCPUGenerator().get_state();
}

// Random numbers of a branch: the recompute sees those of its forward, and the
// rest of the program does not notice the recompute.
class ReplayRandomTest : public testing::Test {
 protected:
  Inputs inputs = random_inputs({5, kWidth});
};

TEST_F(ReplayRandomTest, ManualSeedGivesTheMasksOfThePlainStack) {
  EXPECT_TRUE(MatchesPlain(dropping_blocks(4), inputs));
}

TEST_F(ReplayRandomTest, StateAfterAStepIsThatOfThePlainStack) {
  const Blocks blocks = dropping_blocks(3);
  train(plain(blocks), inputs, parameters_of(blocks));
  const Tensor expected = generator_state();
  train(reversible(blocks), inputs, parameters_of(blocks));
  EXPECT_TRUE(BitEqual(generator_state(), expected));
}

TEST_F(ReplayRandomTest, BackwardDrawsNothingFromTheGlobalGenerator) {
  const Blocks blocks = dropping_blocks(2);
  const auto [y1, y2] = reversible_sequence(blocks, inputs.x1, inputs.x2);
  const Tensor loss = weighted_sum({y1, y2});
  torch::manual_seed(77);
  const Tensor before = generator_state();
  loss.backward();
  EXPECT_TRUE(BitEqual(generator_state(), before));
}

// at::normal of fewer than 16 doubles keeps half a pair for the next call.
TEST_F(ReplayRandomTest, CachedNormalSampleIsReplayed) {
  const Branch noisy =
      Branch::function([](const Tensor& x, at::TensorList, at::TensorList) {
        return x * torch::randn({1}, at::kDouble);
      });
  EXPECT_TRUE(MatchesPlain({{noisy, noisy}, {noisy, noisy}}, inputs));
}

// TorchScript may draw in another order once it has optimised a module. Here
// y1 = x1 + mask * x2, so that d sum(y1) / d x2 tells the mask of the
// recompute.
TEST_F(ReplayRandomTest, ScriptedDropoutOfATransposedInputKeepsItsMask) {
  for (const bool ran_plainly_before : {false, true}) {
    torch::jit::Module dropout("Dropout");
    dropout.register_parameter(
        "weight", torch::ones({1}, at::kDouble).requires_grad_(), false);
    dropout.define(R"(
      def forward(self, x):
          return torch.dropout(x * self.weight, 0.5, True)
    )");
    const Branch branch(dropout);
    const Branch zero = Branch::function(
        [](const Tensor& x, at::TensorList, at::TensorList) { return 0 * x; });
    for (int step = 0; step < 4; ++step) {
      const auto x = random_inputs({kWidth, 5});
      if (ran_plainly_before) {
        branch(x.x2.t()).sum().backward();
      }
      const auto [y1, y2] = reversible_block(branch, zero, x.x1.t(), x.x2.t());
      const auto actual = torch::autograd::grad({y1.sum()}, {x.x2})[0];
      const auto mask = ((y1 - x.x1.t()) / x.x2.t()).detach();
      EXPECT_TRUE(AllClose(actual.t(), mask, kFloat64Tolerance)) << step;
    }
  }
}

TEST_F(ReplayRandomTest, ModuleCalledTwiceBeforeBackwardKeepsBothMasks) {
  const Blocks blocks = dropping_blocks(2);
  const auto twice = [](const Stack& stack) -> Stack {
    return [stack](const Inputs& in) {
      const auto [a1, a2] = stack(in);
      const auto [b1, b2] = stack(in);
      return std::make_tuple(a1 * b2, a2 + b1);
    };
  };
  EXPECT_TRUE(Matches(
      train(twice(reversible(blocks)), inputs, parameters_of(blocks)),
      train(twice(plain(blocks)), inputs, parameters_of(blocks)),
      kFloat64Tolerance));
}

TEST_F(ReplayRandomTest, SharedBranchDrawsAnewAtEachPlace) {
  const Branch shared = dropping(0.5);
  EXPECT_TRUE(MatchesPlain({{shared, shared}, {shared, shared}}, inputs));
}

TEST_F(ReplayRandomTest, ScriptedBranchIsReplayed) {
  torch::jit::Module module("Dropping");
  module.register_parameter(
      "weight",
      torch::randn({kWidth, kWidth}, at::kDouble).requires_grad_(),
      /*is_buffer=*/false);
  module.define(R"(
    def forward(self, x):
        return torch.dropout(torch.matmul(x, self.weight), 0.5, True)
  )");
  EXPECT_TRUE(MatchesPlain({{module, dropping(0.5)}}, inputs));
}

TEST_F(ReplayRandomTest, ExceptionInARecomputeLeavesTheGeneratorAlone) {
  bool fail = false;
  const Branch branch = Branch::function(
      [&fail](const Tensor& x, at::TensorList, at::TensorList) {
        const Tensor noise = torch::rand_like(x);
        TORCH_CHECK(!fail, "stop");
        return x * noise;
      });
  const auto [y1, y2] = reversible_block(branch, branch, inputs.x1, inputs.x2);
  const Tensor loss = weighted_sum({y1, y2});
  const Tensor before = generator_state();
  fail = true;
  EXPECT_THROW(loss.backward(), c10::Error);
  EXPECT_TRUE(BitEqual(generator_state(), before));
}

TEST_F(ReplayRandomTest, WithoutPreserveRngStateARecomputeDrawsAnew) {
  const Branch dropout = dropping(0.5);
  const auto [y1, y2] = reversible_block(
      dropout,
      dropout,
      inputs.x1,
      inputs.x2,
      {},
      ReversibleOptions().preserve_rng_state(false).drift_tolerance(
          torch::nullopt));
  const Tensor loss = weighted_sum({y1, y2});
  const Tensor before = generator_state();
  loss.backward();
  EXPECT_FALSE(BitEqual(generator_state(), before));
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
