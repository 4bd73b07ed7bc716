#include "support/oracle.h"

// The inverse is the stack run the other way: differentiable, at the memory of
// a stack. The oracle is plain autograd over the inverse of the coupling.

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 6;

// y = x / (1 + block) + value * other: all that a coupling may look at.
struct Looking : Coupling {
  Tensor forward(
      const Tensor& x,
      const Tensor& value,
      const Tensor& other,
      const StepId& step) const override {
    return x / (1.0 + step.block) + value * other;
  }
  Tensor inverse(
      const Tensor& y,
      const Tensor& value,
      const Tensor& other,
      const StepId& step) const override {
    return (y - value * other) * (1.0 + step.block);
  }
};

struct Case {
  std::string name;
  ReversibleOptions options;
  // Of what a branch returns, relative to the width of a stream.
  int64_t widths = 1;
};

void PrintTo(const Case& c, std::ostream* stream) {
  *stream << c.name;
}

torch::nn::Sequential branch(
    int64_t widths = 1, at::ScalarType dtype = at::kDouble) {
  torch::nn::Sequential layers(
      torch::nn::LayerNorm(torch::nn::LayerNormOptions({kWidth})),
      torch::nn::Linear(kWidth, widths * kWidth),
      torch::nn::Tanh());
  layers->to(dtype);
  return layers;
}

Blocks blocks_of(
    int64_t depth, int64_t widths = 1, at::ScalarType dtype = at::kDouble) {
  Blocks blocks;
  for (int64_t i = 0; i < depth; ++i) {
    blocks.push_back({branch(widths, dtype), branch(widths, dtype)});
  }
  return blocks;
}

class InverseTest : public testing::TestWithParam<Case> {
 protected:
  InverseTest() {
    torch::manual_seed(0);
    blocks = blocks_of(4, GetParam().widths);
  }

  const ReversibleOptions& options = GetParam().options;
  Blocks blocks;
  Inputs inputs = random_inputs({2, 5, kWidth});
};

TEST_P(InverseTest, GradientsEqualPlainAutograd) {
  EXPECT_TRUE(InverseMatchesOracle(blocks, inputs, options));
}

TEST_P(InverseTest, WorksWithKeptBlocks) {
  for (const auto& kept :
       {ReversibleOptions(options).save_every(1),
        ReversibleOptions(options).save_every(3),
        ReversibleOptions(options).store_last(2),
        ReversibleOptions(options).store_last(1).save_every(2),
        ReversibleOptions(options).store_last(4)}) {
    EXPECT_TRUE(InverseMatchesOracle(blocks, inputs, kept));
  }
}

// Products of other sizes are summed in another order.
TEST_P(InverseTest, WorksWithChunks) {
  auto chunked = options;
  chunked.chunks_f(2).chunks_g(5);
  const auto parameters = parameters_of(blocks);
  const auto actual =
      train(reversible_inverse(blocks, chunked), inputs, parameters);
  const auto expected =
      train(plain_inverse(blocks, options), inputs, parameters);
  EXPECT_TRUE(AllClose(actual.outputs, expected.outputs, kFloat64Tolerance));
  EXPECT_TRUE(
      AllClose(actual.gradients, expected.gradients, kFloat64Tolerance));
}

TEST_P(InverseTest, WorksOnWiderStreams) {
  auto wide = options;
  wide.stream_dtype(at::kDouble);
  EXPECT_TRUE(InverseMatchesOracle(
      blocks_of(4, GetParam().widths, at::kFloat),
      random_inputs({2, 5, kWidth}, at::kFloat),
      wide,
      kFloat32Tolerance));
}

TEST_P(InverseTest, OneOutputInTheLossSuffices) {
  for (const int output : {0, 1}) {
    const auto one = [output](const Stack& stack) {
      return [stack, output](const Inputs& y) {
        auto [x1, x2] = stack(y);
        (output == 0 ? x2 : x1) = torch::zeros({1});
        return std::make_tuple(x1, x2);
      };
    };
    const auto parameters = parameters_of(blocks);
    EXPECT_TRUE(Matches(
        train(one(reversible_inverse(blocks, options)), inputs, parameters),
        train(one(plain_inverse(blocks, options)), inputs, parameters),
        kFloat64Tolerance));
  }
}

TEST_P(InverseTest, InputsNeedNotRequireGrad) {
  inputs.x1.requires_grad_(false);
  EXPECT_TRUE(InverseMatchesOracle(blocks, inputs, options));
  inputs.x2.requires_grad_(false);
  EXPECT_TRUE(InverseMatchesOracle(blocks, inputs, options));
}

TEST_P(InverseTest, GradientPenaltyEqualsPlainAutograd) {
  const auto penalty = [&](const Stack& stack) {
    const auto [x1, x2] = stack(inputs);
    const auto gradients = torch::autograd::grad(
        {weighted_sum({x1.tanh(), x2})},
        {inputs.x1, inputs.x2},
        {},
        /*retain_graph=*/true,
        /*create_graph=*/true);
    return torch::autograd::grad(
        {weighted_sum(gradients).square()},
        {inputs.x1, inputs.x2, parameters_of(blocks)[2]});
  };
  EXPECT_TRUE(AllClose(
      penalty(reversible_inverse(blocks, options)),
      penalty(plain_inverse(blocks, options)),
      kFloat64Tolerance));
}

TEST_P(InverseTest, OfTheForwardPassesTheGradientThrough) {
  const auto there_and_back = [&](const Stack& there, const Stack& back) {
    const auto [y1, y2] = there(inputs);
    const auto [x1, x2] = back({y1 * 1.1, y2, {}});
    return torch::autograd::grad(
        {weighted_sum({x1.sin(), x2})},
        {inputs.x1, inputs.x2, parameters_of(blocks)[2]});
  };
  EXPECT_TRUE(AllClose(
      there_and_back(
          reversible(blocks, options), reversible_inverse(blocks, options)),
      there_and_back(plain(blocks, options), plain_inverse(blocks, options)),
      kFloat64Tolerance));
}

TEST_P(InverseTest, OfOneTensorIsThatOfItsHalves) {
  const auto residual = [this](const ReversibleOptions& kept) -> Stack {
    return [this, kept](const Inputs& y) {
      const auto x = reversible_residual_inverse(
          blocks, torch::cat({y.x1, y.x2}, -1), {}, kept);
      return std::make_tuple(
          x.narrow(-1, 0, kWidth), x.narrow(-1, kWidth, kWidth));
    };
  };
  const auto parameters = parameters_of(blocks);
  const auto expected =
      train(plain_inverse(blocks, options), inputs, parameters);
  for (const auto& kept :
       {ReversibleOptions(options),
        ReversibleOptions(options).save_every(3),
        ReversibleOptions(options).store_last(1),
        ReversibleOptions(options).store_last(4)}) {
    EXPECT_TRUE(Matches(
        train(residual(kept), inputs, parameters),
        expected,
        kFloat64Tolerance));
  }
}

INSTANTIATE_TEST_SUITE_P(
    EachCoupling,
    InverseTest,
    testing::Values(
        Case{"additive", {}},
        Case{"on_a_grid", ReversibleOptions().fraction_bits(20)},
        Case{"momentum", ReversibleOptions().coupling(momentum_coupling(0.9))},
        Case{"affine", ReversibleOptions().coupling(affine_coupling()), 2},
        Case{
            "custom",
            ReversibleOptions().coupling(std::make_shared<Looking>())}),
    [](const auto& info) { return info.param.name; });

TEST(InverseGradientTest, MatchesCentralDifferences) {
  torch::manual_seed(1);
  const auto blocks = mlp_blocks(3, 3);
  const auto inputs = random_inputs({2, 3});
  auto variables = parameters_of(blocks);
  variables.insert(variables.end(), {inputs.x1, inputs.x2});
  EXPECT_TRUE(GradientMatchesCentralDifference(
      [&] {
        const auto [x1, x2] = reversible_inverse(blocks)(inputs);
        return weighted_sum({x1, x2});
      },
      variables));
}

TEST(InverseGradientTest, EqualsPlainAutogradToTheBitOnAGridAtDepth256) {
  torch::manual_seed(0);
  Blocks blocks;
  for (int i = 0; i < 256; ++i) {
    blocks.push_back({conv(3, at::kFloat), conv(3, at::kFloat)});
  }
  const auto inputs = random_inputs({2, 3, 5, 5}, at::kFloat);
  const auto options = ReversibleOptions().fraction_bits(12);
  const auto parameters = parameters_of(blocks);
  const auto actual =
      train(reversible_inverse(blocks, options), inputs, parameters);
  const auto expected =
      train(plain_inverse(blocks, options), inputs, parameters);
  EXPECT_TRUE(BitEqual(actual.outputs, expected.outputs));
  EXPECT_TRUE(BitEqual(actual.gradients, expected.gradients));
}

TEST(InverseGradientTest, StreamThatLeavesItsGridThrows) {
  const auto blocks = mlp_blocks(1, 4, at::kFloat);
  const auto options = ReversibleOptions().fraction_bits(20);
  EXPECT_THROW_WITH(
      reversible_inverse(blocks, options)(
          {torch::full({3, 4}, 10.f), torch::zeros({3, 4}), {}}),
      c10::ValueError,
      "torchrev::reversible_sequence_inverse",
      "fraction_bits = 20");
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
