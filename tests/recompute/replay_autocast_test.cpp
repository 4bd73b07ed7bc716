#include <torchrev/torchrev.h>

#include "support/autocast.h"
#include "support/support.h"

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 16;

// The inputs that a bfloat16 branch sees in its recompute differ by the float32
// rounding of the streams; that can flip the last bit of a bfloat16 (2^-8).
constexpr double kBfloat16Flip = 1.0 / 128;

Stack under_autocast(const Stack& stack) {
  return [stack](const Inputs& inputs) {
    const Autocast autocast;
    return stack(inputs);
  };
}

// Notes under which autocast dtype it runs.
Branch observer(std::vector<bool>& seen) {
  return Branch::function(
      [&seen](const Tensor& x, at::TensorList, at::TensorList) {
        seen.push_back(is_autocast_enabled());
        return x.tanh();
      });
}

class ReplayAutocastTest : public testing::Test {
 protected:
  Inputs inputs = random_inputs({4, kWidth}, at::kFloat);
  Blocks blocks = mlp_blocks(3, kWidth, at::kFloat);
};

TEST_F(ReplayAutocastTest, GradientsEqualThoseOfThePlainStackUnderAutocast) {
  const auto parameters = parameters_of(blocks);
  EXPECT_TRUE(Matches(
      train(under_autocast(reversible(blocks)), inputs, parameters),
      train(under_autocast(plain(blocks)), inputs, parameters),
      kBfloat16Flip));
}

TEST_F(ReplayAutocastTest, BranchesRunInBfloat16AndStreamsStayFloat32) {
  const Autocast autocast;
  EXPECT_EQ(blocks[0].f(inputs.x1).scalar_type(), at::kBFloat16);
  const auto [y1, y2] = reversible_sequence(blocks, inputs.x1, inputs.x2);
  EXPECT_EQ(y1.scalar_type(), at::kFloat);
  EXPECT_EQ(y2.scalar_type(), at::kFloat);
}

TEST_F(ReplayAutocastTest, RecomputeOutsideTheRegionSeesAutocastOn) {
  std::vector<bool> seen;
  const Branch branch = observer(seen);
  Tensor loss;
  {
    const Autocast autocast;
    const auto [y1, y2] =
        reversible_block(branch, branch, inputs.x1, inputs.x2);
    loss = weighted_sum({y1, y2});
  }
  loss.backward();
  // The first call is run twice.
  EXPECT_EQ(seen, std::vector<bool>(5, true));
  EXPECT_FALSE(is_autocast_enabled());
}

TEST_F(ReplayAutocastTest, RecomputeInsideARegionSeesAutocastOffIfForwardDid) {
  std::vector<bool> seen;
  const Branch branch = observer(seen);
  const auto [y1, y2] = reversible_block(branch, branch, inputs.x1, inputs.x2);
  const Tensor loss = weighted_sum({y1, y2});
  const Autocast autocast;
  loss.backward();
  EXPECT_EQ(seen, std::vector<bool>(5, false));
  EXPECT_TRUE(is_autocast_enabled());
}

TEST_F(ReplayAutocastTest, CacheFlagIsAsBeforeAfterAStep) {
  const Autocast autocast;
  for (const bool cache : {true, false}) {
    at::autocast::set_autocast_cache_enabled(cache);
    const auto [y1, y2] = reversible_sequence(blocks, inputs.x1, inputs.x2);
    EXPECT_EQ(at::autocast::is_autocast_cache_enabled(), cache);
    weighted_sum({y1, y2}).backward();
    EXPECT_EQ(at::autocast::is_autocast_cache_enabled(), cache);
  }
  at::autocast::set_autocast_cache_enabled(true);
}

TEST_F(ReplayAutocastTest, WeightUsedTwiceInABranchGetsItsWholeGradient) {
  const Tensor weight = torch::randn({kWidth, kWidth}).requires_grad_();
  const Branch branch = Branch::function(
      [](const Tensor& x, at::TensorList, at::TensorList parameters) {
        return x.matmul(parameters[0]).tanh().matmul(parameters[0]);
      },
      {weight});
  const Blocks twice = {{branch, branch}};
  EXPECT_TRUE(Matches(
      train(under_autocast(reversible(twice)), inputs, {weight}),
      train(under_autocast(plain(twice)), inputs, {weight}),
      kBfloat16Flip));
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
