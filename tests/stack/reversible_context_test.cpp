#include "support/support.h"

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 4;

class ReversibleContextTest : public testing::Test {
 protected:
  ReversibleContextTest() {
    torch::manual_seed(1);
    inputs = random_inputs({2, 3, kWidth});
  }

  Inputs inputs;
};

Tensor causal_mask() {
  return torch::full({3, 3}, -1e9, at::kDouble).triu(1);
}

Branch add_first_context() {
  return Branch::function(
             [](const Tensor& x, at::TensorList context, at::TensorList) {
               return context[0].defined() ? x + context[0] : x.sin();
             })
      .context();
}

TEST_F(ReversibleContextTest, MaskMatchesPlain) {
  inputs.context = {causal_mask()};
  const Branch f = Branch(attention(kWidth)).context();
  EXPECT_TRUE(MatchesPlain({{f, mlp(kWidth)}, {f, mlp(kWidth)}}, inputs));
}

TEST_F(ReversibleContextTest, EachBranchGetsWhatItAskedFor) {
  inputs.context = {causal_mask(), causal_mask() / 2};
  const Branch f = Branch(attention(kWidth)).context({0});
  const Branch g = Branch(attention(kWidth)).context({1});
  const Blocks blocks = {{f, g}};
  const auto parameters = parameters_of(blocks);
  const Stack by_hand = [&](const Inputs& in) {
    const Tensor y1 = in.x1 + f(in.x2, {in.context[0], Tensor()});
    const Tensor y2 = in.x2 + g(y1, {Tensor(), in.context[1]});
    return std::make_tuple(y1, y2);
  };
  EXPECT_TRUE(Matches(
      train(plain(blocks), inputs, parameters),
      train(by_hand, inputs, parameters),
      /*tolerance=*/0));
  EXPECT_TRUE(MatchesPlain({{f, g}, {g, f}}, inputs));
}

TEST_F(ReversibleContextTest, GradientIsSummedOverAllSteps) {
  inputs.context = {torch::randn({2, 3, kWidth}, at::kDouble).requires_grad_()};
  const Branch add = add_first_context();
  EXPECT_TRUE(MatchesPlain({{add, add}, {add, mlp(kWidth)}}, inputs));
}

TEST_F(ReversibleContextTest, NobodyUsesItsGradientStaysUndefined) {
  inputs.context = {torch::randn({2}, at::kDouble).requires_grad_()};
  EXPECT_TRUE(MatchesPlain(mlp_blocks(2, kWidth), inputs));
}

TEST_F(ReversibleContextTest, UndefinedTensorIsPassedOn) {
  inputs.context = {Tensor()};
  const Branch add = add_first_context();
  EXPECT_TRUE(MatchesPlain({{add, mlp(kWidth)}}, inputs));
}

TEST_F(ReversibleContextTest, BooleanAndIntegerTensorsArePassedOn) {
  const auto positions = torch::randint(3, {2, 3}, at::kLong);
  inputs.context = {torch::rand({2, 3, kWidth}) > 0.5, positions};
  const Branch f = Branch::function(
      [](const Tensor& x, at::TensorList context, at::TensorList parameters) {
        return torch::embedding(parameters[0], context[1])
                   .masked_fill(context[0], 0.5) *
               x;
      },
      {torch::randn({3, kWidth}, at::kDouble).requires_grad_()});
  EXPECT_TRUE(MatchesPlain({{f.context(), mlp(kWidth)}}, inputs));
}

TEST_F(ReversibleContextTest, TorchScriptBranchTakesThoseOfItsSchema) {
  torch::jit::Module module("AddContext");
  module.define(R"(
    def forward(self, x, c):
        return torch.sin(x * c)
  )");
  inputs.context = {torch::randn({kWidth}, at::kDouble).requires_grad_()};
  EXPECT_TRUE(MatchesPlain({{module, mlp(kWidth)}}, inputs));
}

TEST_F(ReversibleContextTest, EncoderIsWalkedOnce) {
  const Tensor source = torch::randn({kWidth}, at::kDouble).requires_grad_();
  int calls = 0;
  const auto gradient_of_source = [&](bool is_plain) {
    const Tensor encoded = source.sin();
    encoded.register_hook([&](const Tensor&) { ++calls; });
    const Blocks blocks = {
        {add_first_context(), add_first_context()},
        {add_first_context(), add_first_context()}};
    const Inputs with_context = {inputs.x1, inputs.x2, {encoded}};
    const auto [y1, y2] =
        (is_plain ? plain(blocks) : reversible(blocks))(with_context);
    return torch::autograd::grad({weighted_sum({y1, y2})}, {source})[0];
  };
  const Tensor expected = gradient_of_source(true);
  calls = 0;
  EXPECT_TRUE(AllClose(gradient_of_source(false), expected, kFloat64Tolerance));
  EXPECT_EQ(calls, 1);
}

TEST_F(ReversibleContextTest, InverseTakesContext) {
  const Branch f = Branch(attention(kWidth)).context();
  const Blocks blocks = {{f, mlp(kWidth)}, {f, mlp(kWidth)}};
  const std::vector<Tensor> context = {causal_mask()};
  const auto [y1, y2] =
      reversible_sequence(blocks, inputs.x1, inputs.x2, context);
  const auto [x1, x2] = reversible_sequence_inverse(blocks, y1, y2, context);
  EXPECT_TRUE(AllClose(x1, inputs.x1, 1e-12));
  EXPECT_TRUE(AllClose(x2, inputs.x2, 1e-12));
}

TEST_F(ReversibleContextTest, ResidualTakesContext) {
  const Branch f = Branch(attention(kWidth)).context();
  const Blocks blocks = {{f, mlp(kWidth)}};
  const std::vector<Tensor> context = {causal_mask()};
  const Tensor x = torch::cat({inputs.x1, inputs.x2}, -1).detach();
  const auto [z1, z2] =
      additive_coupling_sequence(blocks, inputs.x1, inputs.x2, context);
  const Tensor y = reversible_residual(blocks, x, context);
  EXPECT_TRUE(BitEqual(y, torch::cat({z1, z2}, -1)));
  EXPECT_TRUE(
      AllClose(reversible_residual_inverse(blocks, y, context), x, 1e-12));
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
