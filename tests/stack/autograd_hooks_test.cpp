#include <torchrev/torchrev.h>

#include <utility>

#include "support/support.h"

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 4;

class AutogradHooksTest : public testing::Test {
 protected:
  void backward() {
    const auto [y1, y2] = reversible(blocks)(inputs);
    weighted_sum({y1, y2}).backward();
  }

  Inputs inputs = random_inputs({3, kWidth});
  Blocks blocks = mlp_blocks(2, kWidth);
};

TEST_F(AutogradHooksTest, ParameterHookFiresOnceAStep) {
  std::vector<int> calls(parameters_of(blocks).size());
  const auto parameters = parameters_of(blocks);
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    parameters[i].register_hook([&calls, i](const Tensor&) { ++calls[i]; });
  }
  backward();
  EXPECT_EQ(calls, std::vector<int>(calls.size(), 1));
}

TEST_F(AutogradHooksTest, HookOfASharedParameterFiresOnceWithTheSum) {
  const Blocks shared = {blocks[0], blocks[0]};
  const auto parameter = parameters_of(shared)[2];
  const auto expected =
      train(plain(shared), inputs, {parameter}).gradients.back();
  std::vector<Tensor> seen;
  parameter.register_hook([&seen](const Tensor& g) { seen.push_back(g); });
  train(reversible(shared), inputs, {parameter});
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_TRUE(AllClose(seen[0], expected, kFloat64Tolerance));
}

TEST_F(AutogradHooksTest, HookThatScalesScalesOnce) {
  const auto parameters = parameters_of(blocks);
  const auto expected = train(plain(blocks), inputs, parameters);
  for (const Tensor& parameter : parameters) {
    parameter.register_hook([](const Tensor& g) { return 2 * g; });
  }
  inputs.x1.register_hook([](const Tensor& g) { return 2 * g; });
  auto actual = train(reversible(blocks), inputs, parameters);
  for (std::size_t i = 0; i < actual.gradients.size(); ++i) {
    const bool hooked = i != 1;  // x2
    EXPECT_TRUE(AllClose(
        actual.gradients[i],
        (hooked ? 2 : 1) * expected.gradients[i],
        kFloat64Tolerance))
        << i;
  }
}

TEST_F(AutogradHooksTest, HooksOfInputsAndOutputsFireOnce) {
  int calls = 0;
  const auto count = [&calls](const Tensor&) { ++calls; };
  const auto [y1, y2] = reversible(blocks)(inputs);
  for (const Tensor& tensor : {y1, y2, inputs.x1, inputs.x2}) {
    tensor.register_hook(count);
  }
  weighted_sum({y1, y2}).backward();
  EXPECT_EQ(calls, 4);
}

TEST_F(AutogradHooksTest, OutputsCanRetainTheirGradient) {
  const auto [y1, y2] = reversible(blocks)(inputs);
  y1.retain_grad();
  (y1 * y2).sum().backward();
  EXPECT_TRUE(AllClose(y1.grad(), y2.detach(), kFloat64Tolerance));
}

TEST_F(AutogradHooksTest, HookMayRunAnotherPassOverTheRetainedGraph) {
  auto parameters = parameters_of(blocks);
  const auto [y1, y2] = reversible(blocks)(inputs);
  const Tensor loss = weighted_sum({y1, y2});
  const auto pass = [&] {
    return torch::autograd::grad({loss}, parameters, {}, /*retain=*/true);
  };
  const auto expected = pass();
  std::vector<Tensor> inner;
  bool running = false;
  // Of the last block: its pass is far from over when the other one runs.
  parameters.back().register_hook([&](const Tensor&) {
    if (!std::exchange(running, true)) {
      inner = pass();
    }
  });
  loss.backward({}, /*retain_graph=*/true);
  EXPECT_TRUE(BitEqual(inner, expected));
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    EXPECT_TRUE(BitEqual(parameters[i].grad(), expected[i])) << i;
  }
}

TEST_F(AutogradHooksTest, HookThatThrowsLeavesNothingBehind) {
  const auto parameter = parameters_of(blocks)[0];
  bool fail = true;
  parameter.register_hook(
      [&fail](const Tensor&) { TORCH_CHECK(!fail, "stop"); });
  const auto before = MemoryMeter::live();
  const auto [y1, y2] = reversible(blocks)(inputs);
  const Tensor loss = weighted_sum({y1, y2});
  const auto held = MemoryMeter::live();
  EXPECT_THROW(loss.backward({}, /*retain_graph=*/true), c10::Error);
  for (const Tensor& tensor : parameters_of(blocks)) {
    tensor.mutable_grad().reset();
  }
  inputs.x1.mutable_grad().reset();
  inputs.x2.mutable_grad().reset();
  // The engine drops what was queued for a failed pass in its next one.
  torch::ones({1}).requires_grad_().sum().backward();
  EXPECT_EQ(MemoryMeter::live(), held);
  EXPECT_GT(held, before);
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
