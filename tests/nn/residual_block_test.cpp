#include "support/support.h"

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

using Sizes = std::vector<int64_t>;

TEST(ResidualBlockTest, KeepsTheShapeWithoutStride) {
  nn::ResidualBlock block(nn::ResidualBlockOptions(3, 3));
  const Tensor x = torch::randn({2, 3, 5, 4});
  const Tensor y = block->forward(x);
  EXPECT_EQ(y.sizes(), x.sizes());
  block->eval();
  EXPECT_TRUE(BitEqual(block->forward(x), x + block->f->forward(x)));
}

TEST(ResidualBlockTest, ShortcutIsPoolingBetweenChannelsOfZeros) {
  nn::ResidualBlock block(nn::ResidualBlockOptions(1, 4).stride(2));
  block->eval();
  const Tensor x = torch::arange(9.).view({1, 1, 3, 3});
  const Tensor shortcut = block->forward(x) - block->f->forward(x);
  const Tensor pooled = torch::tensor({2., 3.5, 6.5, 8.}).view({1, 1, 2, 2});
  const Tensor zeros = torch::zeros({1, 1, 2, 2}, at::kDouble);
  EXPECT_TRUE(AllClose(
      shortcut.to(at::kDouble),
      torch::cat({zeros, pooled.to(at::kDouble), zeros, zeros}, 1),
      kFloat32Tolerance));
}

TEST(ResidualBlockTest, FunctionsHaveTheConvolutionsOfTheirKind) {
  const auto sizes = [](const torch::nn::Sequential& function) {
    std::vector<Sizes> result;
    for (const auto& parameter : function->named_parameters()) {
      if (parameter.value().dim() == 4) {
        result.push_back(parameter.value().sizes().vec());
      }
    }
    return result;
  };
  const auto options = nn::ResidualBlockOptions(8, 16);
  EXPECT_EQ(
      sizes(nn::residual_function(options)),
      (std::vector<Sizes>{{16, 8, 3, 3}, {16, 16, 3, 3}}));
  auto bottleneck = options;
  EXPECT_EQ(
      sizes(nn::residual_function(bottleneck.block("bottleneck"))),
      (std::vector<Sizes>{{4, 8, 1, 1}, {4, 4, 3, 3}, {16, 4, 1, 1}}));
}

TEST(ResidualBlockTest, CloneHasDistinctParametersAndTheSameOutput) {
  nn::ResidualBlock block(nn::ResidualBlockOptions(2, 4).stride(2));
  const auto clone =
      std::dynamic_pointer_cast<nn::ResidualBlockImpl>(block->clone());
  const Tensor x = torch::randn({2, 2, 4, 4});
  EXPECT_TRUE(BitEqual(clone->forward(x), block->forward(x)));
  EXPECT_FALSE(clone->parameters()[0].is_alias_of(block->parameters()[0]));
}

TEST(ResidualBlockTest, ThrowsForOptionsOutOfRange) {
  const auto make = [](const nn::ResidualBlockOptions& options) {
    nn::ResidualBlock block(options);
  };
  const nn::ResidualBlockOptions options(4, 4);
  EXPECT_THROW_WITH(
      make(nn::ResidualBlockOptions(4, 2)),
      c10::ValueError,
      "torchrev::nn::ResidualBlock: expected option `out_channels` to be at "
      "least `in_channels`, but got 2 and 4.");
  EXPECT_THROW_WITH(
      make(nn::ResidualBlockOptions(4, 4).stride(3)),
      c10::ValueError,
      "expected option `stride` to be 1 or 2, but got 3.");
  EXPECT_THROW_WITH(
      make(nn::ResidualBlockOptions(4, 6).block("bottleneck")),
      c10::ValueError,
      "expected option `out_channels` of a bottleneck to be a multiple of 4, "
      "but got 6. A quarter of them are inside.");
  EXPECT_THROW_WITH(
      nn::residual_function(nn::ResidualBlockOptions(0, 4)),
      c10::ValueError,
      "torchrev::nn::residual_function: expected option `in_channels` to be at "
      "least 1, but got 0.");
  EXPECT_THROW_WITH(
      make(nn::ResidualBlockOptions(4, 4).block("deep")),
      c10::ValueError,
      "torchrev::nn::ResidualBlock: expected option `block`");
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
