#include "support/support.h"

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 4;

using Parameters = at::TensorList;

// What F and G may be made of and do: every gradient equals plain autograd's.
class ReversibleBranchesTest : public testing::Test {
 protected:
  ReversibleBranchesTest() {
    torch::manual_seed(1);
    inputs = random_inputs({3, kWidth});
  }

  // A branch in the middle of a stack, as F and as G.
  testing::AssertionResult AsFAndAsG(const Branch& branch) {
    const Blocks blocks = {
        {mlp(kWidth), mlp(kWidth)},
        {branch, mlp(kWidth)},
        {mlp(kWidth), branch},
        {mlp(kWidth), mlp(kWidth)}};
    return MatchesPlain(blocks, inputs);
  }

  Inputs inputs;
};

Tensor random_weight() {
  return torch::randn({kWidth, kWidth}, at::kDouble).requires_grad_();
}

TEST_F(ReversibleBranchesTest, SequentialMatchesPlain) {
  EXPECT_TRUE(AsFAndAsG(mlp(kWidth)));
}

TEST_F(ReversibleBranchesTest, ModuleHolderMatchesPlain) {
  EXPECT_TRUE(AsFAndAsG(linear(kWidth)));
}

TEST_F(ReversibleBranchesTest, SharedPointerMatchesPlain) {
  inputs = random_inputs({2, 3, kWidth});
  EXPECT_TRUE(AsFAndAsG(attention(kWidth).ptr()));
}

TEST_F(ReversibleBranchesTest, AnyModuleMatchesPlain) {
  EXPECT_TRUE(AsFAndAsG(torch::nn::AnyModule(linear(kWidth))));
}

TEST_F(ReversibleBranchesTest, TorchScriptMatchesPlain) {
  EXPECT_TRUE(AsFAndAsG(scripted(kWidth)));
}

TEST_F(ReversibleBranchesTest, FunctionMatchesPlain) {
  EXPECT_TRUE(AsFAndAsG(Branch::function(
      [](const Tensor& x, at::TensorList, Parameters parameters) {
        return x.matmul(parameters[0]).tanh() * parameters[1];
      },
      {random_weight(),
       torch::randn({kWidth}, at::kDouble).requires_grad_()})));
}

TEST_F(ReversibleBranchesTest, ConvolutionMatchesPlain) {
  EXPECT_TRUE(MatchesPlain(conv_blocks(4, 3), random_inputs({2, 3, 5, 5})));
}

TEST_F(ReversibleBranchesTest, OneFrozenBranchMatchesPlain) {
  auto frozen = mlp(kWidth);
  for (Tensor& parameter : frozen->parameters()) {
    parameter.set_requires_grad(false);
  }
  EXPECT_TRUE(AsFAndAsG(frozen));
}

TEST_F(ReversibleBranchesTest, OneFrozenParameterMatchesPlain) {
  auto module = linear(kWidth);
  module->weight.set_requires_grad(false);
  EXPECT_TRUE(AsFAndAsG(module));
}

TEST_F(ReversibleBranchesTest, AllFrozenStillGivesInputGradients) {
  const auto blocks = mlp_blocks(3, kWidth);
  for (Tensor& parameter : parameters_of(blocks)) {
    parameter.set_requires_grad(false);
  }
  EXPECT_TRUE(MatchesPlain(blocks, inputs));
}

TEST_F(ReversibleBranchesTest, AllFrozenAndConstantInputBuildsNoGraph) {
  const auto blocks = mlp_blocks(2, kWidth);
  for (Tensor& parameter : parameters_of(blocks)) {
    parameter.set_requires_grad(false);
  }
  const auto [y1, y2] =
      reversible_sequence(blocks, inputs.x1.detach(), inputs.x2.detach());
  EXPECT_FALSE(y1.requires_grad());
  EXPECT_FALSE(y2.requires_grad());
}

TEST_F(ReversibleBranchesTest, BranchSharedByAllStepsMatchesPlain) {
  const Branch shared = mlp(kWidth);
  EXPECT_TRUE(MatchesPlain({{shared, shared}, {shared, shared}}, inputs));
}

struct TiedImpl : torch::nn::Module {
  explicit TiedImpl(const Tensor& shared)
      : weight(register_parameter("weight", shared)) {}
  Tensor forward(const Tensor& x) {
    return x.matmul(weight).tanh();
  }
  Tensor weight;
};
TORCH_MODULE(Tied);

TEST_F(ReversibleBranchesTest, TiedWeightsOfTwoModulesMatchPlain) {
  const Tensor weight = random_weight();
  EXPECT_TRUE(MatchesPlain(
      {{Tied(weight), Tied(weight)}, {Tied(weight), mlp(kWidth)}}, inputs));
}

TEST_F(ReversibleBranchesTest, UnusedParameterMatchesPlain) {
  auto module = mlp(kWidth);
  module->register_parameter("unused", random_weight());
  EXPECT_TRUE(AsFAndAsG(module));
}

TEST_F(ReversibleBranchesTest, BranchThatIgnoresItsInputMatchesPlain) {
  EXPECT_TRUE(AsFAndAsG(Branch::function(
      [](const Tensor& x, at::TensorList, Parameters parameters) {
        return parameters[0].sin().expand_as(x);
      },
      {torch::randn({kWidth}, at::kDouble).requires_grad_()})));
}

TEST_F(ReversibleBranchesTest, BranchThatReturnsItsParameterMatchesPlain) {
  EXPECT_TRUE(AsFAndAsG(Branch::function(
      [](const Tensor&, at::TensorList, Parameters parameters) {
        return parameters[0];
      },
      {torch::randn({3, kWidth}, at::kDouble).requires_grad_()})));
}

TEST_F(ReversibleBranchesTest, BranchThatReturnsAConstantMatchesPlain) {
  EXPECT_TRUE(AsFAndAsG(
      Branch::function([](const Tensor& x, at::TensorList, Parameters) {
        return torch::full_like(x, 0.5);
      })));
}

TEST_F(ReversibleBranchesTest, BranchThatReturnsACapturedConstantKeepsIt) {
  const Tensor constant = torch::randn({3, kWidth}, at::kDouble);
  const Tensor before = constant.clone();
  EXPECT_TRUE(AsFAndAsG(
      Branch::function([constant](const Tensor&, at::TensorList, Parameters) {
        return constant;
      })));
  EXPECT_TRUE(BitEqual(constant, before));
}

TEST_F(ReversibleBranchesTest, BranchThatReturnsItsInputMatchesPlain) {
  EXPECT_TRUE(AsFAndAsG(torch::nn::Identity()));
}

TEST_F(ReversibleBranchesTest, BranchThatReturnsAViewOfItsInputMatchesPlain) {
  EXPECT_TRUE(AsFAndAsG(Branch::function(
      [](const Tensor& x, at::TensorList, Parameters) { return x.t().t(); })));
}

TEST_F(ReversibleBranchesTest, BranchWithoutGraphMatchesPlain) {
  EXPECT_TRUE(AsFAndAsG(
      Branch::function([](const Tensor& x, at::TensorList, Parameters) {
        return x.detach().sin();
      })));
}

TEST_F(ReversibleBranchesTest, ParameterHookThatDoublesDoublesOnce) {
  auto module = linear(kWidth);
  const Blocks blocks = {{mlp(kWidth), module}, {mlp(kWidth), mlp(kWidth)}};
  const auto parameters = parameters_of(blocks);
  const Step expected = train(plain(blocks), inputs, parameters);
  int calls = 0;
  const auto hook = module->weight.register_hook([&](const Tensor& gradient) {
    ++calls;
    return 2 * gradient;
  });
  Step actual = train(reversible(blocks), inputs, parameters);
  module->weight.remove_hook(hook);
  EXPECT_EQ(calls, 1);
  // 2 for x1 and x2, 4 for the first branch, an mlp.
  EXPECT_TRUE(parameters[6].is_same(module->weight));
  actual.gradients[8] = actual.gradients[8] / 2;
  EXPECT_TRUE(Matches(actual, expected, kFloat64Tolerance));
}

TEST_F(ReversibleBranchesTest, InputHookThatDoublesDoublesOnce) {
  const auto blocks = mlp_blocks(2, kWidth);
  const Step expected = train(plain(blocks), inputs, {});
  const auto hook = inputs.x2.register_hook(
      [](const Tensor& gradient) { return 2 * gradient; });
  const Step actual = train(reversible(blocks), inputs, {});
  inputs.x2.remove_hook(hook);
  EXPECT_TRUE(AllClose(
      actual.gradients[1], 2 * expected.gradients[1], kFloat64Tolerance));
}

TEST_F(ReversibleBranchesTest, BranchesRunInThePlainOrder) {
  std::string order;
  const auto named = [&order](char name) {
    return Branch::function(
        [&order, name](const Tensor& x, at::TensorList, Parameters) {
          order += name;
          return x.sin();
        });
  };
  const Blocks blocks = {{named('a'), named('b')}, {named('c'), named('d')}};
  reversible(blocks)(inputs);
  EXPECT_EQ(order, "aabbccdd");  // First calls are run twice.
  order.clear();
  const auto [y1, y2] = reversible(blocks)(inputs);
  EXPECT_EQ(order, "abcd");
  order.clear();
  weighted_sum({y1, y2}).backward();
  EXPECT_EQ(order, "dcba");
}

// Copying a scripted module in grad mode gives one whose parameters are results
// of clone().
TEST_F(ReversibleBranchesTest, ParametersThatAreNoLeavesMatchPlain) {
  const auto original = scripted(4);
  const Blocks blocks = {{original.deepcopy(), original.deepcopy()}};
  const Tensor weight = original.attr("weight").toTensor();
  ASSERT_FALSE(blocks[0].f.parameters()[0].is_leaf());
  const Inputs inputs = random_inputs({3, 4});
  EXPECT_TRUE(Matches(
      train(reversible(blocks), inputs, {weight}),
      train(plain(blocks), inputs, {weight}),
      kFloat64Tolerance));
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
