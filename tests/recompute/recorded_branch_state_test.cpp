#include "recompute/recorded_branch_fixture.h"

// What a recorded branch refuses, and what it keeps of state.

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

using detail::Place;
using detail::RandomState;

class RecordedBranchStateTest : public RecordedBranchFixture {};

TEST_F(RecordedBranchStateTest, RunOfAnotherShapeIsRefused) {
  EXPECT_THROW_WITH(
      ran(Branch::function([](const Tensor& x, auto, auto) { return x[0]; })),
      c10::ValueError,
      "F of block 3 to keep the shape [6, 4]",
      "[4]");
}

TEST_F(RecordedBranchStateTest, RecomputeOfAnotherShapeOrDtypeIsRefused) {
  std::function<Tensor(const Tensor&)> fn = [](const Tensor& x) { return x; };
  const auto recorded = ran(
      Branch::function([&fn](const Tensor& x, auto, auto) { return fn(x); }));
  fn = [](const Tensor& x) { return x[0]; };
  EXPECT_THROW_WITH(
      recompute(recorded),
      c10::ValueError,
      "the recompute of F of block 3 to return shape [6, 4] and dtype Double",
      "but got [4]");
  fn = [](const Tensor& x) { return x.to(at::kFloat); };
  EXPECT_THROW_WITH(recompute(recorded), c10::ValueError, "and Float");
  fn = [](const Tensor&) { return Tensor(); };
  EXPECT_THROW_WITH(recompute(recorded), c10::ValueError, "undefined tensor");
}

TEST_F(RecordedBranchStateTest, BuffersOfARecomputeAreThoseOfItsForward) {
  const auto scale = torch::full({1}, 2.0, at::kDouble);
  const auto recorded = ran(Branch::function(
      [scale](const Tensor& x, auto, auto) { return x * scale.add_(1); },
      {},
      {scale}));
  scale.fill_(5);
  {
    const auto recomputed = recompute(recorded);
    EXPECT_TRUE(BitEqual(recomputed.value, value));
    EXPECT_EQ(scale.item<double>(), 5);
  }
  EXPECT_EQ(scale.item<double>(), 5);
}

// Each replay of a chunk puts back what the one before it left.
TEST_F(RecordedBranchStateTest, BuffersAfterARecomputeInChunksAreAsBefore) {
  const auto calls = torch::zeros({1}, at::kDouble);
  const auto recorded = ran(
      Branch::function(
          [calls](const Tensor& x, auto, auto) { return x * calls.add_(1); },
          {},
          {calls}),
      3);
  EXPECT_EQ(calls.item<double>(), 3);
  EXPECT_TRUE(BitEqual(recompute(recorded).value, value));
  EXPECT_EQ(calls.item<double>(), 3);
}

// A record of a branch that changes a small buffer is a copy of it.
TEST_F(RecordedBranchStateTest, RecordsAreKeptUntilForgetAndOnlyIfAskedFor) {
  const auto buffer = torch::ones({100}, at::kDouble);
  const Branch branch = Branch::function(
      [buffer](const Tensor& x, auto, auto) {
        buffer.add_(1);
        return x;
      },
      {},
      {buffer});
  const auto before = MemoryMeter::live();
  auto recorded = ran(branch);
  EXPECT_EQ(MemoryMeter::live(), before + int64_t(buffer.nbytes()));
  recorded.forget();
  EXPECT_EQ(MemoryMeter::live(), before);
  recorded.run(x, x.sizes(), {/*record=*/false, /*search=*/false});
  EXPECT_EQ(MemoryMeter::live(), before);
}

TEST_F(
    RecordedBranchStateTest,
    RecordsKeepNothingOfABufferThatForwardLeavesAlone) {
  const auto mask = torch::ones({100}, at::kDouble);
  const Branch branch = Branch::function(
      [mask](const Tensor& x, auto, auto) { return x * mask[0]; }, {}, {mask});
  for (const bool first : {true, false}) {
    const auto before = MemoryMeter::live();
    const auto recorded = ran(branch);
    EXPECT_EQ(
        MemoryMeter::live() - before, int64_t(first ? value.nbytes() : 0));
  }
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
