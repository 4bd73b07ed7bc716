#include "support/support.h"

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

Branch scale_by(double factor) {
  return Branch::function(
      [factor](const Tensor& x, at::TensorList, at::TensorList) {
        return x * factor;
      });
}

Branch add_context() {
  return Branch::function([](const Tensor& x,
                             at::TensorList context,
                             at::TensorList) { return x + context[0]; })
      .context();
}

// Small integers: exact in float64.
Tensor integers(at::ArrayRef<double> values) {
  return torch::tensor(values, at::kDouble);
}

TEST(AdditiveCouplingTest, ComputesTheFormula) {
  const auto [y1, y2] = additive_coupling(
      scale_by(2), scale_by(3), integers({1, 2}), integers({10, 20}));
  EXPECT_TRUE(BitEqual(y1, integers({21, 42})));
  EXPECT_TRUE(BitEqual(y2, integers({73, 146})));
}

TEST(AdditiveCouplingTest, InverseComputesTheFormula) {
  const auto [x1, x2] = additive_coupling_inverse(
      scale_by(2), scale_by(3), integers({21, 42}), integers({73, 146}));
  EXPECT_TRUE(BitEqual(x1, integers({1, 2})));
  EXPECT_TRUE(BitEqual(x2, integers({10, 20})));
}

TEST(AdditiveCouplingTest, HandsContextToBothBranches) {
  const auto [y1, y2] = additive_coupling(
      add_context(),
      add_context(),
      integers({1}),
      integers({10}),
      {integers({100})});
  EXPECT_TRUE(BitEqual(y1, integers({111})));
  EXPECT_TRUE(BitEqual(y2, integers({221})));
}

TEST(AdditiveCouplingTest, InverseTakesContext) {
  const auto [x1, x2] = additive_coupling_inverse(
      add_context(),
      add_context(),
      integers({111}),
      integers({221}),
      {integers({100})});
  EXPECT_TRUE(BitEqual(x1, integers({1})));
  EXPECT_TRUE(BitEqual(x2, integers({10})));
}

TEST(AdditiveCouplingTest, SequenceAppliesBlocksInTurn) {
  const Blocks blocks = {
      {scale_by(2), scale_by(3)}, {scale_by(5), scale_by(7)}};
  const Tensor x1 = integers({1});
  const Tensor x2 = integers({10});
  const auto [h1, h2] = additive_coupling(blocks[0].f, blocks[0].g, x1, x2);
  const auto [z1, z2] = additive_coupling(blocks[1].f, blocks[1].g, h1, h2);
  const auto [y1, y2] = additive_coupling_sequence(blocks, x1, x2);
  EXPECT_TRUE(BitEqual(y1, z1));
  EXPECT_TRUE(BitEqual(y2, z2));
}

TEST(AdditiveCouplingTest, SequenceOfNoBlocksIsTheIdentity) {
  const auto [y1, y2] =
      additive_coupling_sequence({}, integers({1}), integers({2}));
  EXPECT_TRUE(BitEqual(y1, integers({1})));
  EXPECT_TRUE(BitEqual(y2, integers({2})));
}

TEST(AdditiveCouplingTest, GradientMatchesCentralDifferences) {
  torch::manual_seed(0);
  const auto blocks = mlp_blocks(2, 3);
  const auto inputs = random_inputs({2, 3});
  auto variables = parameters_of(blocks);
  variables.insert(variables.end(), {inputs.x1, inputs.x2});
  const auto loss = [&] {
    const auto [y1, y2] = plain(blocks)(inputs);
    return weighted_sum({y1, y2});
  };
  EXPECT_TRUE(GradientMatchesCentralDifference(loss, variables));
}

TEST(AdditiveCouplingTest, InverseIsDifferentiable) {
  torch::manual_seed(0);
  const Branch f = mlp(3);
  const Branch g = mlp(3);
  const auto inputs = random_inputs({2, 3});
  const auto loss = [&] {
    const auto [x1, x2] = additive_coupling_inverse(f, g, inputs.x1, inputs.x2);
    return weighted_sum({x1, x2});
  };
  EXPECT_TRUE(GradientMatchesCentralDifference(loss, {inputs.x1, inputs.x2}));
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
