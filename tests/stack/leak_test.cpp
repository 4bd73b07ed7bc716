#include <torchrev/torchrev.h>

#include "support/support.h"

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 4;

// Live tensor bytes return to the start, whatever happens to a step.
class LeakTest : public testing::Test {
 protected:
  void SetUp() override {
    step();  // what is allocated once
    clear_gradients();
    before = MemoryMeter::live();
  }

  // A branch that throws in the run whose number `fail_at` is.
  Branch failing() {
    return Branch::function(
        [this](const Tensor& x, at::TensorList, at::TensorList) {
          TORCH_CHECK(++runs != fail_at, "stop");
          return x.tanh() * torch::rand_like(x);
        });
  }
  Tensor forward() {
    const auto [y1, y2] = reversible(blocks)(inputs);
    return weighted_sum({y1, y2});
  }
  void step() {
    forward().backward();
  }
  void clear_gradients() {
    for (const Tensor& parameter : parameters_of(blocks)) {
      parameter.mutable_grad().reset();
    }
    inputs.x1.mutable_grad().reset();
    inputs.x2.mutable_grad().reset();
  }
  // 100 steps that throw in run `run` of the six of a step.
  void expect_no_leak_when_run_throws(int run) {
    for (int i = 0; i < 100; ++i) {
      runs = 0;
      fail_at = run;
      EXPECT_THROW(step(), c10::Error);
      clear_gradients();
    }
    EXPECT_EQ(MemoryMeter::live(), before);
  }

  int runs = 0;
  int fail_at = 0;
  int64_t before = 0;
  Inputs inputs = random_inputs({3, kWidth});
  // F of block 0 is run 1, F and G of block 1 are 2 and 3; in backward G of
  // block 1 is 4, F of block 1 is 5, F of block 0 is 6.
  Blocks blocks = {{failing(), mlp(kWidth)}, {failing(), failing()}};
};

TEST_F(LeakTest, ThousandForwardsWithoutBackward) {
  for (int i = 0; i < 1000; ++i) {
    forward();
  }
  EXPECT_EQ(MemoryMeter::live(), before);
}

TEST_F(LeakTest, HundredForwardsThatThrowInF) {
  expect_no_leak_when_run_throws(1);
  expect_no_leak_when_run_throws(2);
}

TEST_F(LeakTest, HundredForwardsThatThrowInG) {
  expect_no_leak_when_run_throws(3);
}

TEST_F(LeakTest, HundredBackwardsThatThrowInTheRecompute) {
  expect_no_leak_when_run_throws(4);
  expect_no_leak_when_run_throws(5);
  expect_no_leak_when_run_throws(6);
}

TEST_F(LeakTest, BackwardThatThrowsFreesThePairWhileTheLossIsHeld) {
  fail_at = 0;
  const Tensor loss = forward();
  const auto held = MemoryMeter::live();
  runs = 0;
  fail_at = 2;
  EXPECT_THROW(loss.backward({}, /*retain_graph=*/true), c10::Error);
  clear_gradients();
  EXPECT_EQ(MemoryMeter::live(), held);
}

TEST_F(LeakTest, PartialGradOnARetainedGraphLeavesNothing) {
  fail_at = 0;
  const Tensor loss = forward();
  const auto held = MemoryMeter::live();
  const auto parameter = parameters_of(blocks)[0];
  torch::autograd::grad({loss}, {parameter}, {}, /*retain_graph=*/true);
  EXPECT_EQ(MemoryMeter::live(), held);
}

TEST_F(LeakTest, DoubleBackwardFreesWhatItKept) {
  fail_at = 0;
  for (int i = 0; i < 10; ++i) {
    const auto gradient =
        torch::autograd::grad({forward()}, {inputs.x1}, {}, true, true);
    gradient[0].pow(2).sum().backward();
    clear_gradients();
  }
  EXPECT_EQ(MemoryMeter::live(), before);
}

TEST_F(LeakTest, ContextIsFreedByBackwardWhileTheLossIsHeld) {
  const Branch branch = Branch::function([](const Tensor& x,
                                            at::TensorList context,
                                            at::TensorList) {
                          return x * context[0];
                        }).context();
  const auto live = MemoryMeter::live();
  Tensor context = torch::rand({3, kWidth}, at::kDouble);
  const auto [y1, y2] = reversible_block(
      branch, branch, inputs.x1.detach(), inputs.x2, {context});
  const Tensor loss = (y1 * y2).sum();
  loss.backward();
  context.reset();
  clear_gradients();
  const auto kept =
      static_cast<int64_t>(loss.nbytes() + y1.nbytes() + y2.nbytes());
  EXPECT_EQ(MemoryMeter::live() - live, kept);
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
