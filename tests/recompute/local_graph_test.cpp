#include "recompute/local_graph.h"

#include <torch/csrc/autograd/variable.h>

#include "support/support.h"

// Back-propagation through one branch, isolated from everything around it.

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

using detail::LocalGraph;
using detail::Place;

const Place kPlace{"entry", StepId{3, Role::kG}};

LocalGraph::Outer outer_of(const Tensor& tensor, bool wanted = true) {
  return {torch::autograd::impl::gradient_edge(tensor), wanted};
}

Tensor leaf() {
  return torch::randn({3}, at::kDouble).requires_grad_();
}

class LocalGraphTest : public testing::Test {
 protected:
  LocalGraph graph{/*differentiable=*/false};
  Tensor x = leaf();
  Tensor weight = leaf();
  Tensor seed = torch::randn({3}, at::kDouble);
};

TEST_F(LocalGraphTest, GradientsAreThoseOfPlainAutograd) {
  const auto input = graph.enter(x, outer_of(x));
  const auto declared = graph.declare(weight, /*wanted=*/true);
  graph.check(kPlace, (input.alias * weight).sin() * weight);
  graph.backward(seed);
  const auto expected =
      torch::autograd::grad({(x * weight).sin() * weight}, {x, weight}, {seed});
  EXPECT_TRUE(BitEqual(graph.gradient(input.handle), expected[0]));
  EXPECT_TRUE(BitEqual(graph.gradient(declared), expected[1]));
}

TEST_F(LocalGraphTest, AliasHoldsTheValueAndIsNotTheTensor) {
  const auto input = graph.enter(x, outer_of(x));
  EXPECT_TRUE(input.alias.is_alias_of(x));
  EXPECT_FALSE(input.alias.is_same(x));
  EXPECT_TRUE(input.alias.requires_grad());
  EXPECT_FALSE(graph.enter(x, {}).alias.requires_grad());
  EXPECT_FALSE(graph.enter(Tensor(), {}).alias.defined());
}

TEST_F(LocalGraphTest, NoHookRunsAndNoGradIsWritten) {
  int hooks = 0;
  for (auto& tensor : {x, weight}) {
    tensor.register_hook([&hooks](const Tensor&) { ++hooks; });
  }
  const auto input = graph.enter(x, outer_of(x));
  const auto declared = graph.declare(weight, /*wanted=*/true);
  graph.check(kPlace, input.alias * weight);
  graph.backward(seed);
  EXPECT_TRUE(graph.gradient(declared).defined());
  EXPECT_EQ(hooks, 0);
  EXPECT_FALSE(x.grad().defined());
  EXPECT_FALSE(weight.grad().defined());
}

TEST_F(LocalGraphTest, CapturedLeafIsRefused) {
  const auto input = graph.enter(x, outer_of(x));
  EXPECT_THROW_WITH(
      graph.check(kPlace, input.alias * weight),
      c10::ValueError,
      "torchrev::entry",
      "inside G of block 3 to be declared",
      "a captured leaf of shape [3]",
      "detach()");
}

TEST_F(LocalGraphTest, CapturedResultIsRefused) {
  const auto before = weight.sin();
  LocalGraph later(/*differentiable=*/false);
  const auto input = later.enter(x, outer_of(x));
  EXPECT_THROW_WITH(
      later.check(kPlace, input.alias * before),
      c10::ValueError,
      "a captured result of SinBackward0");
}

TEST_F(LocalGraphTest, DeclaredResultOfAnOuterGraphIsAnEnd) {
  const auto before = weight.sin();
  LocalGraph later(/*differentiable=*/false);
  const auto declared = later.declare(before, /*wanted=*/true);
  later.check(kPlace, before * 2);
  later.backward(seed);
  EXPECT_TRUE(BitEqual(later.gradient(declared), seed * 2));
  EXPECT_FALSE(weight.grad().defined());
}

TEST_F(LocalGraphTest, GradientIsHandedOutOnce) {
  const auto input = graph.enter(x, outer_of(x));
  graph.check(kPlace, input.alias * 2);
  graph.backward(seed);
  EXPECT_TRUE(graph.gradient(input.handle).defined());
  EXPECT_FALSE(graph.gradient(input.handle).defined());
}

TEST_F(LocalGraphTest, WhatIsUnwantedOrUnreachedHasNoGradient) {
  const auto unwanted = graph.enter(x, outer_of(x, /*wanted=*/false));
  const auto unreached = graph.declare(weight, /*wanted=*/true);
  const auto constant = graph.enter(x, {});
  const auto other = leaf();
  const auto wanted = graph.enter(other, outer_of(other));
  graph.check(kPlace, unwanted.alias * constant.alias + wanted.alias);
  graph.backward(seed);
  EXPECT_FALSE(graph.gradient(unwanted.handle).defined());
  EXPECT_FALSE(graph.gradient(unreached).defined());
  EXPECT_FALSE(graph.gradient(constant.handle).defined());
  EXPECT_TRUE(BitEqual(graph.gradient(wanted.handle), seed));
}

TEST_F(LocalGraphTest, OutMayBeAnEndItselfOrHaveNoGraph) {
  const auto input = graph.enter(x, outer_of(x));
  const auto declared = graph.declare(weight, /*wanted=*/true);
  for (const auto& out : {input.alias, weight, seed, Tensor()}) {
    graph.check(kPlace, out);
  }
  graph.backward({seed, seed * 2, seed, seed});
  EXPECT_TRUE(BitEqual(graph.gradient(input.handle), seed));
  EXPECT_TRUE(BitEqual(graph.gradient(declared), seed * 2));
}

TEST_F(LocalGraphTest, DeliverHandsOverWhatHasAReceiverAndDropsTheRest) {
  const auto input = graph.enter(x, outer_of(x));
  const auto declared = graph.declare(weight, /*wanted=*/true);
  Tensor received;
  graph.receive(input.handle, [&received](Tensor gradient) {
    received = std::move(gradient);
  });
  graph.check(kPlace, input.alias * weight);
  graph.deliver(seed);
  EXPECT_TRUE(BitEqual(received, seed * weight.detach()));
  EXPECT_FALSE(graph.gradient(input.handle).defined());
  EXPECT_FALSE(graph.gradient(declared).defined());
  EXPECT_FALSE(weight.grad().defined());
}

TEST_F(LocalGraphTest, ReceiverOfWhatIsUnwantedIsNotCalled) {
  const auto declared = graph.declare(weight, /*wanted=*/false);
  graph.receive(declared, [](const Tensor&) { FAIL(); });
  graph.check(kPlace, weight * 2);
  graph.deliver(seed);
}

TEST_F(LocalGraphTest, SecondDerivativesReachTheOuterEdge) {
  LocalGraph differentiable(/*differentiable=*/true);
  const auto outer = x * 3;
  const auto input = differentiable.enter(outer, outer_of(outer));
  const auto declared = differentiable.declare(weight, /*wanted=*/true);
  differentiable.check(kPlace, (input.alias * weight).sin());
  differentiable.backward(seed);
  const auto first =
      differentiable.gradient(input.handle) + differentiable.gradient(declared);

  const auto plain = torch::autograd::grad(
      {(outer * weight).sin()}, {outer, weight}, {seed}, true, true);
  EXPECT_TRUE(AllClose(
      torch::autograd::grad({first.sum()}, {x, weight}),
      torch::autograd::grad({(plain[0] + plain[1]).sum()}, {x, weight}),
      kFloat64Tolerance));
}

TEST_F(LocalGraphTest, GradientsOfAGraphThatIsNotDifferentiableHaveNone) {
  const auto input = graph.enter(x, outer_of(x));
  graph.check(kPlace, input.alias.sin());
  graph.backward(seed);
  EXPECT_FALSE(graph.gradient(input.handle).requires_grad());
}

// What is refused may be the user's own graph. Here the declared end is seen
// before the captured one.
TEST_F(LocalGraphTest, RefusedGraphStillBackPropagates) {
  const auto captured = leaf();
  graph.declare(weight, /*wanted=*/true);
  const auto out = weight * captured;
  EXPECT_THROW(graph.check(kPlace, out), c10::ValueError);
  out.backward(seed);
  EXPECT_TRUE(BitEqual(weight.grad(), seed * captured.detach()));
  EXPECT_TRUE(BitEqual(captured.grad(), seed * weight.detach()));
}

TEST_F(LocalGraphTest, CheckAloneRedirectsNothing) {
  graph.declare(weight, /*wanted=*/true);
  const auto out = weight * 2;
  graph.check(kPlace, out);
  out.backward(seed);
  EXPECT_TRUE(BitEqual(weight.grad(), seed * 2));
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
