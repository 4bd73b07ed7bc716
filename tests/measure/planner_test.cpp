#include "measure/planner.h"

#include "support/support.h"

// Which blocks keep their activations within a budget, each plan made once.

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

using detail::Planner;
using detail::StackRun;

constexpr int64_t kWidth = 4;
constexpr int64_t kPlenty = int64_t(1) << 40;

class PlannerTest : public testing::Test {
 protected:
  // Two blocks of F, which counts its runs, and an mlp.
  PlannerTest() {
    const Branch f = Branch::function([this](const Tensor& x, auto, auto) {
      ++runs;
      return x.sin();
    });
    blocks = {{f, mlp(kWidth)}, {f, mlp(kWidth)}};
  }

  // Without the drift guard, whose fingerprints would cost more than a block.
  static ReversibleOptions unguarded() {
    return ReversibleOptions().drift_tolerance(torch::nullopt);
  }
  StackRun run(const ReversibleOptions& options = unguarded()) const {
    return {{"entry", blocks, {}, options}, {x}};
  }

  // The runs of F for one plan.
  int runs_of(
      const StackRun& run, torch::optional<int64_t> budget = torch::nullopt) {
    runs = 0;
    planner.plan(run, budget);
    return runs;
  }

  int runs = 0;
  Blocks blocks;
  Tensor x = torch::randn({50, 2 * kWidth}, at::kDouble).requires_grad_();
  Planner planner;
};

TEST_F(PlannerTest, WithoutABudgetMeasuresTheStepAsTheOptionsSay) {
  const auto plan = planner.plan(run(), torch::nullopt);
  EXPECT_EQ(plan.blocks, 2);
  EXPECT_EQ(plan.store_last, 0);
  EXPECT_GT(plan.retained_bytes, 0);
  EXPECT_GE(plan.peak_bytes, plan.retained_bytes);
  const auto stored =
      planner.plan(run(unguarded().store_last(1)), torch::nullopt);
  EXPECT_EQ(stored.store_last, 1);
  EXPECT_GT(stored.retained_bytes, plan.retained_bytes);
}

TEST_F(PlannerTest, WithABudgetKeepsAsManyBlocksAsFit) {
  const auto all = planner.plan(run(), kPlenty);
  EXPECT_EQ(all.store_last, 2);
  EXPECT_EQ(planner.plan(run(), all.peak_bytes).store_last, 2);
  const auto less = planner.plan(run(), all.peak_bytes - 1);
  EXPECT_LT(less.store_last, 2);
  EXPECT_LT(less.peak_bytes, all.peak_bytes);
}

TEST_F(PlannerTest, PlanIsMadeOnce) {
  const auto first = planner.plan(run(), kPlenty);
  EXPECT_GT(runs, 0);
  EXPECT_EQ(runs_of(run(), kPlenty), 0);
  EXPECT_EQ(planner.plan(run(), kPlenty).peak_bytes, first.peak_bytes);
}

TEST_F(PlannerTest, AnotherPlannerMakesItsOwn) {
  runs_of(run());
  Planner other;
  runs = 0;
  other.plan(run(), torch::nullopt);
  EXPECT_GT(runs, 0);
}

TEST_F(PlannerTest, AnotherOptionMakesAnotherPlan) {
  runs_of(run());
  for (const auto& options :
       {unguarded().store_last(1),
        unguarded().chunks_f(2).chunk_dim(0),
        unguarded().preserve_rng_state(false),
        ReversibleOptions(),
        unguarded().coupling(momentum_coupling(0.9)),
        unguarded().stream_dtype(at::kDouble),
        unguarded().split(1)}) {
    EXPECT_GT(runs_of(run(options)), 0);
    EXPECT_EQ(runs_of(run(options)), 0);
  }
}

TEST_F(PlannerTest, AnotherBudgetMakesAnotherPlan) {
  runs_of(run(), kPlenty);
  EXPECT_GT(runs_of(run(), kPlenty - 1), 0);
  EXPECT_GT(runs_of(run()), 0);
}

TEST_F(PlannerTest, AnotherInputMakesAnotherPlan) {
  runs_of(run());
  const auto shape = torch::randn({6, 2 * kWidth}, at::kDouble);
  for (const auto& other :
       {shape, shape.clone().requires_grad_(), shape.t().contiguous().t()}) {
    x = other;
    EXPECT_GT(runs_of(run()), 0);
    x = other.detach().clone(at::MemoryFormat::Preserve) + 1;
    x.set_requires_grad(other.requires_grad());
    EXPECT_EQ(runs_of(run()), 0);
  }
}

TEST_F(PlannerTest, AnotherGradModeMakesAnotherPlan) {
  runs_of(run());
  const at::NoGradGuard no_grad;
  EXPECT_GT(runs_of(run()), 0);
  EXPECT_EQ(runs_of(run()), 0);
}

TEST_F(PlannerTest, AnotherModeOfABranchMakesAnotherPlan) {
  runs_of(run());
  blocks[1].g.module()->eval();
  EXPECT_GT(runs_of(run()), 0);
  blocks[1].g.parameters()[0].set_requires_grad(false);
  EXPECT_GT(runs_of(run()), 0);
}

TEST_F(PlannerTest, BudgetThatIsTooSmallSaysWhatIsNeededAndLeavesNoTrace) {
  blocks[1].f = torch::nn::Sequential(
      torch::nn::BatchNorm1d(kWidth), torch::nn::Dropout());
  blocks[1].f.module()->to(at::kDouble);
  const auto buffers = blocks[1].f.buffers();
  const auto mean = buffers[0].clone();
  const auto state = at::detail::getDefaultCPUGenerator().get_state();
  const auto needed = planner.plan(run(), torch::nullopt).peak_bytes;
  const auto live = MemoryMeter::live();

  EXPECT_THROW_WITH(
      planner.plan(run(), needed - 1),
      c10::ValueError,
      "torchrev::entry",
      "`memory_budget` to be at least the " + std::to_string(needed) + " bytes",
      "shape [50, 8]",
      "but got " + std::to_string(needed - 1));

  EXPECT_EQ(MemoryMeter::live(), live);
  EXPECT_TRUE(BitEqual(buffers[0], mean));
  EXPECT_TRUE(
      BitEqual(at::detail::getDefaultCPUGenerator().get_state(), state));
  EXPECT_FALSE(x.grad().defined());
  for (const Tensor& parameter : parameters_of(blocks)) {
    EXPECT_FALSE(parameter.grad().defined());
  }
  EXPECT_NO_THROW(planner.plan(run(), needed));
}

TEST_F(PlannerTest, PlanThatFailedIsMadeAnew) {
  EXPECT_THROW(planner.plan(run(), 1), c10::ValueError);
  runs = 0;
  EXPECT_THROW(planner.plan(run(), 1), c10::ValueError);
  EXPECT_GT(runs, 0);
}

TEST_F(PlannerTest, InputIsCheckedBeforeAnythingRuns) {
  x = torch::randn({5, 7});
  EXPECT_THROW_WITH(
      planner.plan(run(), kPlenty), c10::ValueError, "to be even", "7");
  x = Tensor();
  EXPECT_THROW_WITH(
      planner.plan(run(), kPlenty), c10::ValueError, "`x` to be a tensor");
  auto streams = run();
  streams.x = {torch::ones({2, 4}), torch::ones({3, 4})};
  EXPECT_THROW_WITH(
      planner.plan(streams, kPlenty), c10::ValueError, "one shape");
  EXPECT_EQ(runs, 0);
}

TEST_F(PlannerTest, OptionsWithoutABudgetAreThoseOfTheRunAndCostNothing) {
  const auto options =
      planner.options_of(run(unguarded().store_last(1)), torch::nullopt);
  EXPECT_EQ(options.store_last(), 1);
  EXPECT_EQ(runs, 0);
}

TEST_F(PlannerTest, OptionsWithoutAGradientCostNothing) {
  const at::NoGradGuard no_grad;
  EXPECT_EQ(planner.options_of(run(), kPlenty).store_last(), 0);
  EXPECT_EQ(runs, 0);
}

TEST_F(PlannerTest, OptionsWithABudgetHaveThePlannedBlocks) {
  EXPECT_EQ(planner.options_of(run(), kPlenty).store_last(), 2);
  runs = 0;
  planner.options_of(run(), kPlenty);
  EXPECT_EQ(runs, 0);
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
