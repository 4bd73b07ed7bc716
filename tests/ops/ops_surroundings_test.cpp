#include <thread>

#include "differential/surroundings.h"
#include "ops/ops_resolver.h"
#include "support/autocast.h"
#include "support/support.h"

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

using torch::autograd::grad;

constexpr int64_t kWidth = 8;

// A bfloat16 branch sees float32 streams that differ by rounding: that can flip
// the last bit of a bfloat16 (2^-8).
constexpr double kBfloat16Flip = 1.0 / 128;

// tanh((x + shift) w), where `shift` may be None.
torch::jit::Module shifted(at::ScalarType dtype) {
  torch::jit::Module module("Shifted");
  module.register_parameter(
      "weight",
      torch::randn({kWidth, kWidth}, dtype).requires_grad_(),
      /*is_buffer=*/false);
  module.define(R"(
    def forward(self, x, shift: Optional[Tensor]):
        h = x
        if shift is not None:
            h = x + shift
        return torch.tanh(torch.matmul(h, self.weight))
  )");
  return module;
}

// A scripted stack that calls the operator, and its branches.
struct ScriptedStack {
  explicit ScriptedStack(at::ScalarType dtype = at::kDouble) {
    std::vector<std::pair<torch::jit::Module, torch::jit::Module>> modules;
    for (int i = 0; i < 2; ++i) {
      modules.emplace_back(shifted(dtype), shifted(dtype));
      const auto& [f, g] = modules.back();
      blocks.push_back({Branch(f).context(), Branch(g).context()});
    }
    module.register_module("blocks", module_list(modules));
    module.define(
        R"(
    def forward(self, x1, x2, shift: Optional[Tensor]):
        return torchrev.reversible_sequence(self.blocks, x1, x2, shift)
    )",
        std::make_shared<OpsResolver>());
  }

  // `context` is None where the tensor is undefined.
  Stack operators() {
    return [this](const Inputs& in) {
      const Tensor& shift = in.context[0];
      const auto y =
          module
              .forward(
                  {in.x1,
                   in.x2,
                   shift.defined() ? c10::IValue(shift) : c10::IValue()})
              .toTuple();
      return std::make_tuple(
          y->elements()[0].toTensor(), y->elements()[1].toTensor());
    };
  }

  torch::jit::Module module{"Stack"};
  Blocks blocks;
};

Stack under_autocast(const Stack& stack) {
  return [stack](const Inputs& inputs) {
    const Autocast autocast(true);
    return stack(inputs);
  };
}

Inputs inputs_with(const Tensor& context, at::ScalarType dtype = at::kDouble) {
  Inputs inputs = random_inputs({3, kWidth}, dtype);
  inputs.context = {context};
  return inputs;
}

TEST(OpsSurroundingsTest, NoneIsAnUndefinedContextTensor) {
  ScriptedStack stack;
  const auto inputs = inputs_with(Tensor());
  const auto parameters = parameters_of(stack.blocks);
  EXPECT_TRUE(Matches(
      train(stack.operators(), inputs, parameters),
      train(plain(stack.blocks), inputs, parameters),
      kFloat64Tolerance));
}

TEST(OpsSurroundingsTest, BackwardOutsideTheAutocastRegionMatchesPlain) {
  ScriptedStack stack(at::kFloat);
  const auto inputs =
      inputs_with(torch::randn({kWidth}).requires_grad_(), at::kFloat);
  const auto parameters = parameters_of(stack.blocks);
  const Step actual =
      train(under_autocast(stack.operators()), inputs, parameters);
  EXPECT_TRUE(Matches(
      actual,
      train(under_autocast(plain(stack.blocks)), inputs, parameters),
      kBfloat16Flip));
  const Step full = train(plain(stack.blocks), inputs, parameters);
  EXPECT_FALSE(BitEqual(actual.outputs, full.outputs));
}

TEST(OpsSurroundingsTest, TwoThreadsThatTrainTwoModelsEqualRunningAlone) {
  constexpr int kSteps = 20;
  std::vector<ScriptedStack> stacks(2);
  const auto inputs = inputs_with(torch::randn({kWidth}, at::kDouble));
  const auto steps = [&inputs](ScriptedStack& stack) {
    std::vector<Tensor> last;
    for (int i = 0; i < kSteps; ++i) {
      const auto [y1, y2] = stack.operators()(inputs);
      last = grad({(y1 * y2).sum()}, parameters_of(stack.blocks));
    }
    return last;
  };
  const std::vector<std::vector<Tensor>> alone = {
      steps(stacks[0]), steps(stacks[1])};
  std::vector<std::vector<Tensor>> together(2);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < 2; ++i) {
    threads.emplace_back([&, i] { together[i] = steps(stacks[i]); });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_TRUE(BitEqual(together[0], alone[0]));
  EXPECT_TRUE(BitEqual(together[1], alone[1]));
}

TEST(OpsSurroundingsTest, TwoBackwardsAtOnceOverOneRetainedGraphAreRight) {
  ScriptedStack stack;
  const auto parameters = parameters_of(stack.blocks);
  const auto [y1, y2] =
      stack.operators()(inputs_with(torch::randn({kWidth}, at::kDouble)));
  const Tensor loss = weighted_sum({y1, y2});
  const auto expected = grad({loss}, parameters, {}, true);
  for (int round = 0; round < 20; ++round) {
    std::vector<std::vector<Tensor>> actual(2);
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < 2; ++i) {
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
