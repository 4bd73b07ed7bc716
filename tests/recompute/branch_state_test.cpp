#include "recompute/branch_state.h"

#include "recompute/no_trace.h"
#include "recompute/random_state.h"
#include "support/support.h"

// What a branch may change when it runs, and the generators, are put back.

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

using detail::NoTrace;
using detail::RandomState;

constexpr int64_t kWidth = 4;
// Of a buffer, in elements: more than 1 MiB.
constexpr int64_t kLarge = (int64_t(1) << 17) + 1;

Tensor generator_state() {
  return at::detail::getDefaultCPUGenerator().get_state();
}

TEST(NoTraceTest, LeavesBuffersFlagsAndGeneratorAsTheyWere) {
  torch::nn::Sequential module(
      torch::nn::BatchNorm1d(kWidth), torch::nn::Dropout(0.5));
  const Branch branch = module;
  const auto x = torch::randn({3, kWidth});
  const auto mean = module->buffers()[0].clone();
  const auto state = generator_state();
  {
    const NoTrace no_trace(branch, x);
    branch(x);
    EXPECT_FALSE(BitEqual(module->buffers()[0], mean));
    module->eval();
  }
  EXPECT_TRUE(BitEqual(module->buffers()[0], mean));
  EXPECT_TRUE(BitEqual(generator_state(), state));
  EXPECT_TRUE(module->is_training());
}

TEST(RandomStateTest, TellsWhetherAnythingWasDrawn) {
  const auto before = RandomState::capture({});
  EXPECT_TRUE(before == RandomState::capture({}));
  torch::rand({1});
  EXPECT_FALSE(before == RandomState::capture({}));
  before.restore();
  EXPECT_TRUE(before == RandomState::capture({}));
}

// Of two normal numbers that the generator makes at once, one waits.
TEST(RandomStateTest, CountsANormalNumberThatWaits) {
  torch::manual_seed(0);
  torch::randn({1}, at::kDouble);
  const auto waiting = RandomState::capture({});
  const auto second = torch::randn({1}, at::kDouble);
  EXPECT_FALSE(waiting == RandomState::capture({}));
  waiting.restore();
  EXPECT_TRUE(BitEqual(torch::randn({1}, at::kDouble), second));
}

TEST(BranchStateTest, CopiesBuffersThatMayChangeAndPutsThemBack) {
  const auto small = torch::ones({2});
  const auto large = torch::ones({kLarge}, at::kDouble);
  const auto expanded = torch::ones({1}).expand({3});
  const Branch branch = Branch::function(
      [](const Tensor& x, auto, auto) { return x; },
      {},
      {small, large, expanded});
  const auto copies = detail::copies_of_buffers(branch);
  ASSERT_EQ(copies.size(), 1u);
  EXPECT_TRUE(copies[0].buffer.is_same(small));

  const detail::BranchState state{{}, copies};
  small.zero_();
  // Autograd may have saved the buffer, as it does for batch norm.
  const auto version = small._version();
  state.restore(branch);
  EXPECT_TRUE(BitEqual(small, torch::ones({2})));
  EXPECT_EQ(small._version(), version);
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
