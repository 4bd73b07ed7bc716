#include "support/oracle.h"

#include <c10/util/Exception.h>

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 4;

// What the modules compute; that they are modules is nn_module_test.cpp.
class ReversibleModuleTest : public testing::Test {
 protected:
  ReversibleModuleTest() {
    torch::manual_seed(1);
  }

  static nn::ReversibleSequential stack_of(
      const Blocks& blocks, const ReversibleOptions& options = {}) {
    nn::ReversibleSequential stack(options);
    for (const BranchPair& block : blocks) {
      stack->push_back(block.f, block.g);
    }
    return stack;
  }

  Blocks blocks = mlp_blocks(3, kWidth);
  Tensor x = torch::randn({5, 2 * kWidth}, at::kDouble).requires_grad_();
  Inputs inputs = random_inputs({5, kWidth});
};

TEST_F(ReversibleModuleTest, BlockForwardEqualsCoupling) {
  nn::ReversibleBlock block(blocks[0].f, blocks[0].g);
  const auto halves = x.chunk(2, -1);
  const auto [y1, y2] =
      additive_coupling(blocks[0].f, blocks[0].g, halves[0], halves[1]);
  EXPECT_TRUE(BitEqual(block->forward(x), torch::cat({y1, y2}, -1)));
}

TEST_F(ReversibleModuleTest, StackForwardEqualsCoupling) {
  const auto halves = x.chunk(2, -1);
  const auto [y1, y2] = plain(blocks)({halves[0], halves[1], {}});
  EXPECT_TRUE(BitEqual(stack_of(blocks)->forward(x), torch::cat({y1, y2}, -1)));
}

TEST_F(ReversibleModuleTest, DuplicateEqualsMeanOfCouplingStreams) {
  auto stack = stack_of(blocks, ReversibleOptions().duplicate());
  const Tensor input = inputs.x1;
  const auto [y1, y2] = plain(blocks)({input, input, {}});
  EXPECT_TRUE(BitEqual(stack->forward(input), (y1 + y2) / 2));
}

TEST_F(ReversibleModuleTest, BlockForwardStreamsMatchesPlain) {
  nn::ReversibleBlock block(blocks[0].f, blocks[0].g);
  const Stack streams = [block](const Inputs& in) mutable {
    return block->forward_streams(in.x1, in.x2, in.context);
  };
  const auto parameters = block->parameters();
  EXPECT_TRUE(Matches(
      train(streams, inputs, parameters),
      train(plain({blocks[0]}), inputs, parameters),
      kFloat64Tolerance));
}

TEST_F(ReversibleModuleTest, StackForwardStreamsMatchesPlain) {
  auto stack = stack_of(blocks);
  const Stack streams = [stack](const Inputs& in) mutable {
    return stack->forward_streams(in.x1, in.x2, in.context);
  };
  const auto parameters = stack->parameters();
  EXPECT_TRUE(Matches(
      train(streams, inputs, parameters),
      train(plain(blocks), inputs, parameters),
      kFloat64Tolerance));
}

TEST_F(ReversibleModuleTest, InverseRecoversInput) {
  auto stack = stack_of(mlp_blocks(32, kWidth));
  EXPECT_TRUE(AllClose(stack->inverse(stack->forward(x)), x, 1e-12));
  nn::ReversibleBlock block(blocks[0].f, blocks[0].g);
  EXPECT_TRUE(AllClose(block->inverse(block->forward(x)), x, 1e-12));
}

TEST_F(ReversibleModuleTest, InverseBuildsNoGraphWithoutGradMode) {
  auto stack = stack_of(blocks);
  const torch::NoGradGuard no_grad;
  EXPECT_FALSE(stack->inverse(x).requires_grad());
  nn::ReversibleBlock block(blocks[0].f, blocks[0].g);
  EXPECT_FALSE(block->inverse(x).requires_grad());
}

TEST_F(ReversibleModuleTest, InversesAreDifferentiable) {
  const auto gradients = [&](const auto& inverse, const Blocks& used) {
    const auto [x1, x2] = inverse();
    auto variables = parameters_of(used);
    variables.insert(variables.end(), {inputs.x1, inputs.x2});
    return torch::autograd::grad({weighted_sum({x1, x2})}, variables);
  };
  const auto halves = [](const Tensor& whole) {
    const auto parts = whole.chunk(2, -1);
    return std::make_tuple(parts[0], parts[1]);
  };
  const auto whole = [&] { return torch::cat({inputs.x1, inputs.x2}, -1); };
  auto stack = stack_of(blocks);
  const auto expected =
      gradients([&] { return plain_inverse(blocks)(inputs); }, blocks);
  const auto of_streams = gradients(
      [&] { return stack->inverse_streams(inputs.x1, inputs.x2); }, blocks);
  EXPECT_TRUE(AllClose(of_streams, expected, kFloat64Tolerance));
  EXPECT_TRUE(AllClose(
      gradients([&] { return halves(stack->inverse(whole())); }, blocks),
      expected,
      kFloat64Tolerance));
  const Blocks one = {blocks[0]};
  nn::ReversibleBlock block(blocks[0].f, blocks[0].g);
  EXPECT_TRUE(AllClose(
      gradients([&] { return halves(block->inverse(whole())); }, one),
      gradients([&] { return plain_inverse(one)(inputs); }, one),
      kFloat64Tolerance));
}

TEST_F(ReversibleModuleTest, InverseRecoversImages) {
  auto stack = stack_of(conv_blocks(32, 3), ReversibleOptions().split(1));
  const Tensor image = torch::randn({2, 6, 5, 5}, at::kDouble);
  EXPECT_TRUE(AllClose(stack->inverse(stack->forward(image)), image, 1e-12));
}

TEST_F(ReversibleModuleTest, InverseStreamsRecoversInputs) {
  auto stack = stack_of(blocks);
  const auto [y1, y2] = stack->forward_streams(inputs.x1, inputs.x2);
  const auto [x1, x2] = stack->inverse_streams(y1, y2);
  EXPECT_TRUE(AllClose(x1, inputs.x1, 1e-12));
  EXPECT_TRUE(AllClose(x2, inputs.x2, 1e-12));
  nn::ReversibleBlock block(blocks[0].f, blocks[0].g);
  const auto [z1, z2] = block->forward_streams(inputs.x1, inputs.x2);
  const auto [w1, w2] = block->inverse_streams(z1, z2);
  EXPECT_TRUE(AllClose(w1, inputs.x1, 1e-12));
  EXPECT_TRUE(AllClose(w2, inputs.x2, 1e-12));
}

TEST_F(ReversibleModuleTest, InverseOfDuplicateThrows) {
  const auto options = ReversibleOptions().duplicate();
  auto stack = stack_of(blocks, options);
  EXPECT_THROW_WITH(
      stack->inverse(inputs.x1), c10::ValueError, "duplicate", "mean");
  nn::ReversibleBlock block(blocks[0].f, blocks[0].g, options);
  EXPECT_THROW_WITH(block->inverse(inputs.x1), c10::ValueError, "duplicate");
}

TEST_F(ReversibleModuleTest, EmptyStackIsTheIdentity) {
  nn::ReversibleSequential stack;
  EXPECT_TRUE(stack->is_empty());
  EXPECT_TRUE(BitEqual(stack->forward(x), x));
  EXPECT_TRUE(BitEqual(stack->inverse(x), x));
}

TEST_F(ReversibleModuleTest, ThrowsForOddSplit) {
  EXPECT_THROW_WITH(
      stack_of(blocks)->forward(torch::randn({2, 7}, at::kDouble)),
      c10::ValueError,
      "even",
      "[2, 7]");
}

TEST_F(ReversibleModuleTest, ThrowsForOptionsThatDoNotFitTheInput) {
  auto stack = stack_of(blocks, ReversibleOptions().stream_dtype(at::kFloat));
  EXPECT_THROW_WITH(
      stack->forward(x), c10::TypeError, "stream_dtype", "Double");
}

TEST_F(ReversibleModuleTest, ForwardTakesContext) {
  const Branch f = Branch(attention(kWidth)).context();
  auto stack = stack_of({{f, mlp(kWidth)}});
  const Tensor tokens = torch::randn({2, 3, 2 * kWidth}, at::kDouble);
  const Tensor mask = torch::randn({3, 3}, at::kDouble);
  const auto halves = tokens.chunk(2, -1);
  const auto [y1, y2] =
      additive_coupling_sequence(stack->branches, halves[0], halves[1], {mask});
  const Tensor y = stack->forward(tokens, {mask});
  EXPECT_TRUE(BitEqual(y, torch::cat({y1, y2}, -1)));
  EXPECT_TRUE(AllClose(stack->inverse(y, {mask}), tokens, 1e-12));
}

TEST_F(ReversibleModuleTest, IndexingGivesBlocksThatShareTheBranches) {
  auto stack = stack_of(blocks);
  ASSERT_EQ(stack->size(), 3U);
  const Tensor y = stack[2]->forward(stack[1]->forward(stack[0]->forward(x)));
  EXPECT_TRUE(BitEqual(y, stack->forward(x)));
  EXPECT_EQ(stack[1]->branches.f.module(), blocks[1].f.module());
}

TEST_F(ReversibleModuleTest, ThrowsForBlockIndexOutOfRange) {
  auto stack = stack_of(blocks);
  EXPECT_THROW_WITH(stack[3], c10::IndexError, "3");
}

TEST_F(ReversibleModuleTest, DropsIntoSequential) {
  torch::nn::Sequential network(
      torch::nn::Linear(3, 2 * kWidth),
      nn::ReversibleBlock(linear(kWidth), linear(kWidth)),
      stack_of(blocks),
      torch::nn::Linear(2 * kWidth, 1));
  network->to(at::kDouble);
  const Tensor input = torch::randn({5, 3}, at::kDouble);
  const Tensor output = network->forward(input);
  EXPECT_EQ(output.sizes(), (std::vector<int64_t>{5, 1}));
  output.sum().backward();
  for (const Tensor& parameter : network->parameters()) {
    EXPECT_TRUE(parameter.grad().defined());
  }
}

TEST_F(ReversibleModuleTest, DropsIntoAnyModuleWithAndWithoutContext) {
  const Branch add = Branch::function(
      [](const Tensor& x, at::TensorList context, at::TensorList) {
        return context.empty() ? x : x + context[0];
      });
  nn::ReversibleBlock block(add.context(), add.context());
  torch::nn::AnyModule any(block);
  const std::vector<Tensor> context = {torch::ones({kWidth}, at::kDouble)};
  EXPECT_TRUE(BitEqual(any.forward(x), block->forward(x)));
  EXPECT_TRUE(BitEqual(any.forward(x, context), block->forward(x, context)));
  EXPECT_FALSE(torch::equal(any.forward(x), any.forward(x, context)));
}

TEST_F(ReversibleModuleTest, IsABranchItself) {
  const Branch nested = nn::ReversibleBlock(linear(2), linear(2));
  EXPECT_TRUE(MatchesPlain({{nested, mlp(kWidth)}}, inputs));
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
