#include "recompute/recorded_branch.h"

#include <torch/csrc/autograd/variable.h>

#include "branch/branch_facts.h"
#include "support/support.h"

// A branch that runs once without a graph, and again, with one.

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

using detail::LocalGraph;
using detail::Place;
using detail::RandomState;
using detail::RecordedBranch;
using torch::autograd::variable_list;

constexpr int64_t kWidth = 4;
const Place kPlace{"entry", StepId{3, Role::kF}};
constexpr RecordedBranch::Mode kRecord{/*record=*/true, /*search=*/false};
constexpr RecordedBranch::Mode kSearch{/*record=*/false, /*search=*/true};

LocalGraph::Outer outer_of(const Tensor& tensor, bool wanted = true) {
  return {torch::autograd::impl::gradient_edge(tensor), wanted};
}

Branch dropping() {
  torch::nn::Sequential module(linear(kWidth), torch::nn::Dropout(0.5));
  return module;
}

class RecordedBranchTest : public testing::Test {
 protected:
  // `branch`, that ran for x, chunk by chunk, as a node's forward runs it: the
  // context is handed over to the node.
  RecordedBranch ran(
      const Branch& branch, int64_t chunks = 1, const Place& place = kPlace) {
    RecordedBranch recorded(place, branch, context, {chunks, 0, x}, {});
    declared = recorded.declared();
    const at::NoGradGuard no_grad;
    value = recorded.chunks().map(x, [&](const Tensor& part, std::size_t) {
      return recorded.run(part, part.sizes(), kRecord);
    });
    saved = recorded.release_context();
    return recorded;
  }

  // A recompute without a gradient.
  RecordedBranch::Recompute recompute(const RecordedBranch& recorded) const {
    const at::NoGradGuard no_grad;
    LocalGraph graph(/*differentiable=*/false);
    return recorded.recompute(graph, x, saved, {});
  }

  // The gradients of `seed * value`, of x and of what is declared, of which
  // number `only` alone is wanted if it is given.
  std::vector<Tensor> gradients(
      const RecordedBranch& recorded, int64_t only = -1) const {
    LocalGraph graph(/*differentiable=*/false);
    const auto input = graph.enter(x, outer_of(x));
    std::vector<LocalGraph::Outer> outers;
    for (const Tensor& tensor : declared) {
      outers.push_back(
          outer_of(tensor, only < 0 || only == int64_t(outers.size())));
    }
    const auto recompute =
        recorded.recompute(graph, input.alias, saved, outers);
    graph.check(kPlace, recompute.value);
    graph.backward(seed);
    std::vector<Tensor> gradients = {graph.gradient(input.handle)};
    for (const auto handle : recompute.declared) {
      gradients.push_back(graph.gradient(handle));
    }
    return gradients;
  }

  Tensor x = torch::randn({6, kWidth}, at::kDouble).requires_grad_();
  Tensor seed = torch::randn({6, kWidth}, at::kDouble);
  // Of the call.
  variable_list context;
  // Of the run.
  variable_list declared;
  variable_list saved;
  Tensor value;
};

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

TEST_F(RecordedBranchTest, RunOfAnotherShapeIsRefused) {
  EXPECT_THROW_WITH(
      ran(Branch::function([](const Tensor& x, auto, auto) { return x[0]; })),
      c10::ValueError,
      "F of block 3 to keep the shape [6, 4]",
      "[4]");
}

TEST_F(RecordedBranchTest, RecomputeOfAnotherShapeOrDtypeIsRefused) {
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

TEST_F(RecordedBranchTest, BuffersOfARecomputeAreThoseOfItsForward) {
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
TEST_F(RecordedBranchTest, BuffersAfterARecomputeInChunksAreAsBefore) {
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
TEST_F(RecordedBranchTest, RecordsAreKeptUntilForgetAndOnlyIfAskedFor) {
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

TEST_F(RecordedBranchTest, RecordsKeepNothingOfABufferThatForwardLeavesAlone) {
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
