#include <torch/csrc/autograd/variable.h>

#include "fake_device/hopping.h"
#include "support/backward_in_parts.h"
#include "support/oracle.h"

// Memory that recomputes share with others: read and written in an order, on
// several streams; and turns in which they set what all see.

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 8;

class SharedMemoryDeviceTest : public FakeDeviceTest {
 protected:
  Tensor forward(const Blocks& blocks) {
    const auto stack = on_several_streams(reversible(blocks), device);
    const auto [y1, y2] = stack(inputs);
    return y2.sum();
  }
  Tensor weight_on(int64_t index) {
    return on_accelerator(
        torch::rand({kWidth}, at::kDouble).requires_grad_(), index);
  }

  Inputs inputs = on_accelerator(random_inputs({4, kWidth}));
};

// No gradient comes of F: its step rebuilds the stream, and reads the weight.
TEST_F(SharedMemoryDeviceTest, CallerOfAPassMayWriteWhatItsStepsRead) {
  const auto weight = weight_on(0);
  const auto f = Branch::function(
      [](const Tensor& x, at::TensorList, at::TensorList parameters) {
        return (x * parameters[0]).tanh();
      },
      {weight});
  const auto g =
      Branch::function([](const Tensor& x, at::TensorList, at::TensorList) {
        return x.detach().sin();
      });
  for (int step = 0; step < 3; ++step) {
    forward(hopping(Blocks{{f, g}})).backward();
    const at::NoGradGuard no_grad;
    weight.mul_(0.9);
  }
}

// A pass that starts at F of the last block, on a stream that has waited for
// nothing: F runs on its own one, and the end was written on that of G.
TEST_F(SharedMemoryDeviceTest, PassFromAnInnerStepReadsTheEndInOrder) {
  const auto blocks = on_accelerator(mlp_blocks(2, kWidth));
  const auto parameters = parameters_of(blocks);
  const auto hops = hopping(blocks);
  forward(hops).backward();
  const auto loss = forward(hops);
  const auto node = users_of(loss, parameters)[1];
  const auto weight = blocks[1].f.parameters()[0];
  const SideStream side(device);
  const auto gradients = pass(
      {{node, 0}},
      {torch::ones({4, kWidth}, inputs.x1.options().requires_grad(false))},
      {torch::autograd::impl::gradient_edge(weight)},
      /*retain=*/false);
  EXPECT_TRUE(gradients[0].defined());
}

// A branch that asks a default generator past all operators is recomputed in
// turns. This one runs a backward pass within its forward, on another device,
// whose steps are recomputed in turns as well.
TEST_F(SharedMemoryDeviceTest, TurnWithinATurnOnAnotherDeviceIsNotWaitedFor) {
  const auto inner_weight = weight_on(1);
  const auto inner_branch = asking(1, {inner_weight});
  const auto outer = Branch::function(
      [inner_branch](
          const Tensor& x, at::TensorList, at::TensorList parameters) {
        const auto there = x.to(accelerator(1));
        const auto [y1, y2] =
            reversible_block(inner_branch, inner_branch, there, there);
        const auto inner = torch::autograd::grad({(y1 + y2).sum()}, {there})[0];
        return (x * parameters[0]).tanh() + inner.detach().to(x.device());
      },
      {weight_on(0), inner_weight});
  for (int step = 0; step < 2; ++step) {
    const auto [y1, y2] = reversible_block(outer, outer, inputs.x1, inputs.x2);
    const Tensor loss = (y1 + y2).sum();
    EXPECT_NO_THROW(loss.backward());
  }
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
