#include <torchrev/torchrev.h>

#include "support/support.h"

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

using torch::autograd::grad;

constexpr int64_t kWidth = 5;

std::vector<Tensor> all_of(const Inputs& inputs, const Blocks& blocks) {
  std::vector<Tensor> tensors = {inputs.x1, inputs.x2};
  const auto parameters = parameters_of(blocks);
  tensors.insert(tensors.end(), parameters.begin(), parameters.end());
  return tensors;
}

// Ways of asking for gradients.
class AutogradBackwardTest : public testing::Test {
 protected:
  Tensor loss_of(const Stack& stack) {
    const auto [y1, y2] = stack(inputs);
    // Not linear, so that every second derivative exists.
    return weighted_sum({y1.sin(), y2.sin()});
  }
  std::vector<Tensor> plain_gradients() {
    return grad({loss_of(plain(blocks))}, all_of(inputs, blocks));
  }

  Inputs inputs = random_inputs({3, kWidth});
  Blocks blocks = mlp_blocks(3, kWidth);
};

TEST_F(AutogradBackwardTest, RetainGraphAllowsRepeatedBackward) {
  const auto expected = plain_gradients();
  const auto variables = all_of(inputs, blocks);
  const Tensor loss = loss_of(reversible(blocks));
  for (const bool retain : {true, true, false}) {
    EXPECT_TRUE(AllClose(
        grad({loss}, variables, {}, retain), expected, kFloat64Tolerance));
  }
}

TEST_F(AutogradBackwardTest, SecondBackwardOverAFreedGraphThrows) {
  const Tensor loss = loss_of(reversible(blocks));
  loss.backward();
  EXPECT_THROW(loss.backward(), std::exception);
}

TEST_F(AutogradBackwardTest, PartialGradOnARetainedGraphIsFollowedByAll) {
  const auto expected = plain_gradients();
  const auto variables = all_of(inputs, blocks);
  const Tensor loss = loss_of(reversible(blocks));
  for (std::size_t i = variables.size(); i-- > 0;) {
    EXPECT_TRUE(AllClose(
        grad({loss}, {variables[i]}, {}, true)[0],
        expected[i],
        kFloat64Tolerance));
  }
  EXPECT_TRUE(AllClose(grad({loss}, variables), expected, kFloat64Tolerance));
}

TEST_F(AutogradBackwardTest, SeveralForwardsBeforeAnyBackward) {
  const auto expected = plain_gradients();
  const auto variables = all_of(inputs, blocks);
  const Tensor first = loss_of(reversible(blocks));
  const Tensor second = loss_of(reversible(blocks));
  const Tensor third = loss_of(reversible(blocks));
  for (const Tensor& loss : {second, first, third}) {
    EXPECT_TRUE(AllClose(grad({loss}, variables), expected, kFloat64Tolerance));
  }
}

TEST_F(AutogradBackwardTest, OneOutputAloneInTheLoss) {
  const auto variables = all_of(inputs, blocks);
  for (const int output : {0, 1}) {
    const auto one = [&](const Stack& stack) {
      const auto [y1, y2] = stack(inputs);
      return grad(
          {weighted_sum({output == 0 ? y1 : y2})},
          variables,
          {},
          false,
          false,
          /*allow_unused=*/true);
    };
    EXPECT_TRUE(AllClose(
        one(reversible(blocks)), one(plain(blocks)), kFloat64Tolerance));
  }
}

TEST_F(AutogradBackwardTest, OneBlockUsedTwiceInOneStack) {
  const Blocks twice = {blocks[0], blocks[1], blocks[0]};
  EXPECT_TRUE(MatchesPlain(twice, inputs));
}

TEST_F(AutogradBackwardTest, StacksInARow) {
  const auto twice = [this](const Stack& stack) -> Stack {
    return [stack](const Inputs& in) {
      const auto [a1, a2] = stack(in);
      return stack({a1, a2, {}});
    };
  };
  EXPECT_TRUE(Matches(
      train(twice(reversible(blocks)), inputs, parameters_of(blocks)),
      train(twice(plain(blocks)), inputs, parameters_of(blocks)),
      kFloat64Tolerance));
}

TEST_F(AutogradBackwardTest, AStackInsideABranch) {
  torchrev::nn::ReversibleSequential inner;
  inner->push_back(linear(kWidth), linear(kWidth));
  inner->push_back(linear(kWidth), linear(kWidth));
  const Tensor x1 = torch::randn({3, 2 * kWidth}, at::kDouble).requires_grad_();
  const Blocks outer = {{inner, linear(2 * kWidth)}};
  const Blocks flat = inner->branches;
  const Branch plain_inner =
      Branch::function([flat](const Tensor& x, at::TensorList, at::TensorList) {
        const auto halves = x.chunk(2, -1);
        const auto [y1, y2] =
            additive_coupling_sequence(flat, halves[0], halves[1]);
        return torch::cat({y1, y2}, -1);
      });
  const Inputs wide{x1, x1 * 2, {}};
  EXPECT_TRUE(Matches(
      train(reversible(outer), wide, parameters_of(outer)),
      train(plain({{plain_inner, outer[0].g}}), wide, parameters_of(outer)),
      kFloat64Tolerance));
}

TEST_F(AutogradBackwardTest, GradientPenaltyEqualsPlainAutograd) {
  const auto variables = all_of(inputs, blocks);
  const auto penalty = [&](const Stack& stack) {
    const auto first =
        grad({loss_of(stack)}, {inputs.x1, inputs.x2}, {}, true, true);
    const Tensor norm = first[0].pow(2).sum() + first[1].pow(2).sum();
    return grad({loss_of(stack) + norm}, variables, {}, false, false, true);
  };
  EXPECT_TRUE(AllClose(
      penalty(reversible(blocks)), penalty(plain(blocks)), kFloat64Tolerance));
}

// The penalty alone enters the graph in its middle, at inner steps.
TEST_F(AutogradBackwardTest, HessianVectorProductEqualsPlainAutograd) {
  const auto variables = all_of(inputs, blocks);
  std::vector<Tensor> vectors;
  for (const Tensor& variable : variables) {
    vectors.push_back(torch::randn_like(variable));
  }
  const auto product = [&](const Stack& stack) {
    const auto first = grad({loss_of(stack)}, variables, {}, true, true);
    return grad(first, variables, vectors, false, false, true);
  };
  EXPECT_TRUE(AllClose(
      product(reversible(blocks)), product(plain(blocks)), kFloat64Tolerance));
}

TEST_F(AutogradBackwardTest, ThirdDerivativeEqualsPlainAutograd) {
  const auto third = [&](const Stack& stack) {
    auto first = grad({loss_of(stack)}, {inputs.x1}, {}, true, true)[0];
    auto second = grad({first.pow(2).sum()}, {inputs.x2}, {}, true, true)[0];
    return grad({second.pow(2).sum()}, {inputs.x1})[0];
  };
  EXPECT_TRUE(AllClose(
      third(reversible(blocks)), third(plain(blocks)), kFloat64Tolerance));
}

TEST_F(AutogradBackwardTest, DoubleBackwardReachesContext) {
  const Tensor scale = torch::rand({3, kWidth}, at::kDouble).requires_grad_();
  const Branch branch = Branch::function([](const Tensor& x,
                                            at::TensorList context,
                                            at::TensorList) {
                          return (x * context[0]).sin();
                        }).context();
  const Blocks scaled = {{branch, branch}, {branch, branch}};
  const auto penalty = [&](const Stack& stack) {
    const Inputs with_context{inputs.x1, inputs.x2, {scale.exp()}};
    const auto [y1, y2] = stack(with_context);
    const auto first =
        grad({weighted_sum({y1, y2})}, {scale, inputs.x1}, {}, true, true);
    return grad(
        {first[0].pow(2).sum() + first[1].pow(3).sum()},
        {scale, inputs.x1, inputs.x2});
  };
  EXPECT_TRUE(AllClose(
      penalty(reversible(scaled)), penalty(plain(scaled)), kFloat64Tolerance));
}

TEST_F(AutogradBackwardTest, AnomalyModeFindsNothingWrong) {
  const torch::autograd::DetectAnomalyGuard anomaly;
  EXPECT_TRUE(MatchesPlain(blocks, inputs));
}

TEST_F(AutogradBackwardTest, AnomalyModeNamesTheFunctionThatMadeANan) {
  const torch::autograd::DetectAnomalyGuard anomaly;
  const Branch branch =
      Branch::function([](const Tensor& x, at::TensorList, at::TensorList) {
        return (x * 0).sqrt() * x;
      });
  const auto [y1, y2] = reversible_block(branch, branch, inputs.x1, inputs.x2);
  const Tensor loss = weighted_sum({y1, y2});
  try {
    loss.backward();
    FAIL() << "threw nothing";
  } catch (const std::exception& error) {
    EXPECT_TRUE(Mentions(message_of(error), {"MulBackward", "nan"}));
  }
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
