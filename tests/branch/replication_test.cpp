#include <torchrev/torchrev.h>

#include <thread>

#include "support/support.h"

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 4;

torchrev::nn::ReversibleSequential small_stack() {
  torchrev::nn::ReversibleSequential stack;
  stack->push_back(mlp(kWidth), linear(kWidth));
  stack->push_back(scripted(kWidth), mlp(kWidth));
  return stack;
}

Tensor loss_of(torchrev::nn::ReversibleSequential& stack, const Tensor& x) {
  return stack->forward(x).pow(2).sum();
}

// What torch::nn::parallel does with a module: clone it to a device, run the
// replicas in threads; and what a user does between calls: move it.
class ReplicationTest : public testing::Test {
 protected:
  torchrev::nn::ReversibleSequential stack = small_stack();
  Tensor x = torch::randn({6, 2 * kWidth}, at::kDouble);
};

TEST_F(ReplicationTest, ReplicasInThreadsGiveTheGradientsOfTheModel) {
  loss_of(stack, x).backward();
  const auto halves = x.chunk(2, 0);
  std::vector<torchrev::nn::ReversibleSequential> replicas;
  for (int i = 0; i < 2; ++i) {
    replicas.emplace_back(
        std::dynamic_pointer_cast<torchrev::nn::ReversibleSequentialImpl>(
            stack->clone(torch::Device(torch::kCPU))));
  }
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back(
        [&, i] { loss_of(replicas[i], halves[i]).backward(); });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  const auto parameters = stack->parameters();
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    EXPECT_TRUE(AllClose(
        replicas[0]->parameters()[i].grad() +
            replicas[1]->parameters()[i].grad(),
        parameters[i].grad(),
        kFloat64Tolerance));
  }
}

TEST_F(ReplicationTest, ModelMovedBetweenForwardCallsTrainsOn) {
  for (const auto dtype : {at::kFloat, at::kDouble}) {
    stack->to(dtype);
    stack->zero_grad(/*set_to_none=*/true);
    loss_of(stack, x.to(dtype)).backward();
    for (const Tensor& parameter : stack->parameters()) {
      EXPECT_EQ(parameter.grad().scalar_type(), dtype);
    }
  }
}

TEST_F(ReplicationTest, MoveReachesAScriptedBranch) {
  stack->to(at::kFloat);
  EXPECT_EQ(stack->forward(x.to(at::kFloat)).scalar_type(), at::kFloat);
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
