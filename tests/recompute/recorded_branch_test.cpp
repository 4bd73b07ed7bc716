#include "recompute/recorded_branch_fixture.h"

// A branch that runs once without a graph, and again, with one.

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

using detail::Place;
using detail::RandomState;

class RecordedBranchTest : public RecordedBranchFixture {};

// Neither the first call, which builds a graph, nor a later one.
TEST_F(RecordedBranchTest, RunKeepsNoGraph) {
  const Branch branch = mlp(kWidth);
  for (const bool first : {true, false}) {
    EXPECT_EQ(branch.facts().searched, !first);
    RecordedBranch recorded(kPlace, branch, {}, {1, 0, x}, {});
    const auto before = MemoryMeter::live();
    const auto out = recorded.run(x, x.sizes(), {/*record=*/true});
    EXPECT_FALSE(out.requires_grad());
    EXPECT_EQ(MemoryMeter::live(), before + int64_t(out.nbytes())) << first;
  }
}

TEST_F(RecordedBranchTest, RecomputeGivesTheBitsOfTheRunDropoutIncluded) {
  const auto recorded = ran(dropping());
  torch::randn({1}, at::kDouble);
  const auto state = RandomState::capture({});
  EXPECT_TRUE(BitEqual(recompute(recorded).value, value));
  EXPECT_TRUE(state == RandomState::capture({}));
}

TEST_F(RecordedBranchTest, DeclaresContextAndThenParametersThatRequireGrad) {
  const auto trained = torch::randn({kWidth}, at::kDouble).requires_grad_();
  const auto frozen = torch::randn({kWidth}, at::kDouble);
  const auto mask = torch::randn({kWidth}, at::kDouble).requires_grad_();
  context = {frozen, mask, Tensor()};
  const Branch branch =
      Branch::function(
          [](const Tensor& x, auto, auto) { return x; }, {frozen, trained})
          .context();
  ran(branch);
  ASSERT_EQ(declared.size(), 2u);
  EXPECT_TRUE(declared[0].is_same(mask));
  EXPECT_TRUE(declared[1].is_same(trained));
}

// A function gets aliases of its parameters, a module uses its own.
TEST_F(RecordedBranchTest, HandlesOfARecomputeAreInTheOrderOfDeclared) {
  const auto weight =
      torch::randn({kWidth, kWidth}, at::kDouble).requires_grad_();
  context = {torch::randn({6, 6}, at::kDouble).requires_grad_()};
  const Branch function = Branch::function(
      [](const Tensor& x, at::TensorList context, at::TensorList parameters) {
        return context[0].matmul(x).matmul(parameters[0]).tanh();
      },
      {weight});
  auto attentive = attention(kWidth);
  attentive->norm->weight.set_requires_grad(false);
  for (const Branch& branch : {function.context(), Branch(attentive)}) {
    const auto recorded = ran(branch);
    variable_list inputs = {x};
    inputs.insert(inputs.end(), declared.begin(), declared.end());
    const auto expected =
        torch::autograd::grad({branch(x, context)}, inputs, {seed});
    EXPECT_TRUE(AllClose(gradients(recorded), expected, kFloat64Tolerance));
    for (std::size_t i = 0; i < declared.size(); ++i) {
      std::vector<Tensor> alone(expected.size());
      alone[0] = expected[0];
      alone[i + 1] = expected[i + 1];
      EXPECT_TRUE(
          AllClose(gradients(recorded, int64_t(i)), alone, kFloat64Tolerance));
    }
  }
}

TEST_F(RecordedBranchTest, ChunksAreRecomputedOneByOneAndJoined) {
  std::vector<int64_t> sizes;
  const Branch branch = Branch::function([&sizes](const Tensor& x, auto, auto) {
    sizes.push_back(x.size(0));
    return x * torch::rand_like(x);
  });
  const auto recorded = ran(branch, 4);
  EXPECT_TRUE(BitEqual(recompute(recorded).value, value));
  // The first call is run twice.
  EXPECT_EQ(sizes, (std::vector<int64_t>{1, 1, 2, 1, 2, 1, 2, 1, 2}));
}

TEST_F(RecordedBranchTest, OneChunkIsRecomputedByItsNumber) {
  const auto recorded = ran(dropping(), 3);
  const at::NoGradGuard no_grad;
  for (const std::size_t chunk : {2, 0, 1}) {
    LocalGraph graph(/*differentiable=*/false);
    const auto& chunks = recorded.chunks();
    EXPECT_TRUE(BitEqual(
        recorded.recompute_chunk(graph, chunk, chunks.of(x, chunk), {}, {})
            .value,
        chunks.of(value, chunk)));
  }
}

TEST_F(RecordedBranchTest, SearchFindsATensorThatWasNotDeclared) {
  const auto captured = torch::ones({kWidth}, at::kDouble).requires_grad_();
  const Branch branch = Branch::function(
      [captured](const Tensor& x, auto, auto) { return x * captured; });
  RecordedBranch recorded(kPlace, branch, {}, {1, 0, x}, {});
  EXPECT_NO_THROW(recorded.run(x, x.sizes(), {}));
  for (const auto mode : {kRecord, kSearch}) {
    EXPECT_THROW_WITH(
        recorded.run(x, x.sizes(), mode),
        c10::ValueError,
        "torchrev::entry",
        "inside F of block 3 to be declared",
        "a captured leaf of shape [4]");
  }
}

TEST_F(RecordedBranchTest, ChangedParameterIsRefused) {
  const auto module = linear(kWidth);
  const auto in_step = ran(module);
  const auto alone = ran(module, 1, {"entry"});
  EXPECT_NO_THROW(in_step.check_unchanged(saved));
  torch::NoGradGuard no_grad;
  module->bias.add_(1);
  EXPECT_THROW_WITH(
      in_step.check_unchanged(saved),
      c10::ValueError,
      "the parameters of F of block 3",
      "shape [4] that was modified in place");
  EXPECT_THROW_WITH(
      alone.check_unchanged(saved),
      c10::ValueError,
      "the parameters of the branch");
}

TEST_F(RecordedBranchTest, ChangedContextIsRefused) {
  context = {torch::ones({6, 6}, at::kDouble)};
  const auto recorded = ran(Branch(attention(kWidth)).context());
  context[0].mul_(2);
  EXPECT_THROW_WITH(
      recorded.check_unchanged(saved),
      c10::ValueError,
      "the context of F of block 3",
      "modified in place");
}

TEST_F(RecordedBranchTest, ReleasedContextIsHeldByTheCallerAlone) {
  context = {torch::ones({6, 6}, at::kDouble)};
  RecordedBranch recorded(
      kPlace, Branch(attention(kWidth)).context(), context, {1, 0, x}, {});
  const auto held = context[0].use_count();
  const auto released = recorded.release_context();
  ASSERT_EQ(released.size(), 1u);
  EXPECT_TRUE(released[0].is_same(context[0]));
  EXPECT_EQ(context[0].use_count(), held);
  EXPECT_TRUE(recorded.release_context().empty());
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
