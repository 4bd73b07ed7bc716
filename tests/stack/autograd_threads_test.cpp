#include <torchrev/torchrev.h>

#include <thread>

#include "support/support.h"

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

using torch::autograd::grad;

constexpr int64_t kWidth = 5;

class AutogradThreadsTest : public testing::Test {
 protected:
  static Blocks blocks_with_buffers() {
    torch::nn::Sequential norm(
        torch::nn::BatchNorm1d(kWidth), torch::nn::Linear(kWidth, kWidth));
    norm->to(at::kDouble);
    return {{norm, mlp(kWidth)}, {mlp(kWidth), linear(kWidth)}};
  }

  Inputs inputs = random_inputs({4, kWidth});
};

TEST_F(AutogradThreadsTest, BackwardRunsInAnotherThreadThanForward) {
  const Blocks blocks = mlp_blocks(3, kWidth);
  const auto parameters = parameters_of(blocks);
  const auto expected = train(plain(blocks), inputs, parameters);
  const auto [y1, y2] = reversible(blocks)(inputs);
  const Tensor loss = weighted_sum({y1, y2});
  std::vector<Tensor> actual;
  std::thread([&] { actual = grad({loss}, parameters); }).join();
  EXPECT_TRUE(AllClose(
      actual,
      {expected.gradients.begin() + 2, expected.gradients.end()},
      kFloat64Tolerance));
}

TEST_F(AutogradThreadsTest, TwoThreadsThatTrainTwoModelsEqualRunningAlone) {
  constexpr int kSteps = 20;
  std::vector<Blocks> models = {blocks_with_buffers(), blocks_with_buffers()};
  const auto steps = [this](const Blocks& blocks) {
    std::vector<Tensor> last;
    for (int i = 0; i < kSteps; ++i) {
      const auto [y1, y2] =
          reversible_sequence(blocks, inputs.x1.detach(), inputs.x2.detach());
      last = grad({(y1 * y2).sum()}, parameters_of(blocks));
    }
    return last;
  };
  const std::vector<std::vector<Tensor>> alone = {
      steps(models[0]), steps(models[1])};
  std::vector<std::vector<Tensor>> together(2);
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&, i] { together[i] = steps(models[i]); });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_TRUE(BitEqual(together[0], alone[0]));
  EXPECT_TRUE(BitEqual(together[1], alone[1]));
}

TEST_F(AutogradThreadsTest, TwoBackwardsAtOnceOverOneRetainedGraphAreRight) {
  const Blocks blocks = blocks_with_buffers();
  const auto parameters = parameters_of(blocks);
  const auto [y1, y2] = reversible(blocks)(inputs);
  const Tensor loss = weighted_sum({y1, y2});
  const auto expected = grad({loss}, parameters, {}, true);
  constexpr int kRounds = 20;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<std::vector<Tensor>> actual(2);
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i) {
      threads.emplace_back(
          [&, i] { actual[i] = grad({loss}, parameters, {}, true); });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
    EXPECT_TRUE(AllClose(actual[0], expected, kFloat64Tolerance));
    EXPECT_TRUE(AllClose(actual[1], expected, kFloat64Tolerance));
  }
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
