#include <thread>

#include "ops/ops_resolver.h"
#include "support/support.h"

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

using torch::autograd::grad;

constexpr int64_t kWidth = 4;

// Takes a context tensor, draws, and depends on a buffer that it updates.
torch::jit::Module demanding() {
  torch::jit::Module module("Demanding");
  module.register_parameter(
      "weight",
      torch::randn({kWidth, kWidth}, at::kDouble).requires_grad_(),
      /*is_buffer=*/false);
  module.register_buffer("count", torch::zeros({1}, at::kDouble));
  module.define(R"(
    def forward(self, x, scale):
        self.count.add_(1)
        h = torch.matmul(torch.sin(x * scale), self.weight)
        return torch.tanh(torch.dropout(h, 0.5, True)) / self.count.clone()
  )");
  return module;
}

// The contracts of the C++ entry points, through the operators: two scripted
// blocks, against plain autograd over copies of their branches.
class OpsSemanticsTest : public testing::Test {
 protected:
  OpsSemanticsTest() {
    torch::manual_seed(1);
    std::vector<std::pair<torch::jit::Module, torch::jit::Module>> modules;
    for (int i = 0; i < 2; ++i) {
      modules.emplace_back(demanding(), demanding());
      const auto& [f, g] = modules.back();
      blocks.push_back({f, g});
      twins.push_back({Branch(f).clone(), Branch(g).clone()});
    }
    module.register_module("blocks", module_list(modules));
    module.define(
        R"(
    def forward(self, x1, x2, scale):
        return torchrev.reversible_sequence(self.blocks, x1, x2, scale)
    )",
        std::make_shared<OpsResolver>());
    inputs.context = {torch::rand({kWidth}, at::kDouble).requires_grad_()};
  }

  Stack operators() {
    return [this](const Inputs& in) {
      const auto y = module.forward({in.x1, in.x2, in.context[0]}).toTuple();
      return std::make_tuple(
          y->elements()[0].toTensor(), y->elements()[1].toTensor());
    };
  }
  Tensor loss_of(const Stack& stack) {
    torch::manual_seed(0);
    const auto [y1, y2] = stack(inputs);
    return weighted_sum({y1.sin(), y2.sin()});
  }
  static std::vector<Tensor> buffers_of(const Blocks& blocks) {
    std::vector<Tensor> buffers;
    for (const BranchPair& block : blocks) {
      buffers.push_back(block.f.buffers()[0]);
      buffers.push_back(block.g.buffers()[0]);
    }
    return buffers;
  }
  std::vector<Tensor> variables(const Blocks& of) {
    auto all = parameters_of(of);
    all.insert(all.end(), {inputs.x1, inputs.x2, inputs.context[0]});
    return all;
  }

  Blocks blocks;
  Blocks twins;
  torch::jit::Module module{"Stack"};
  Inputs inputs = random_inputs({3, kWidth});
};

TEST_F(OpsSemanticsTest, DropoutBuffersAndContextMatchPlain) {
  for (int step = 0; step < 3; ++step) {
    EXPECT_TRUE(Matches(
        train(operators(), inputs, parameters_of(blocks)),
        train(plain(twins), inputs, parameters_of(twins)),
        kFloat64Tolerance));
    EXPECT_TRUE(BitEqual(buffers_of(blocks), buffers_of(twins)));
  }
}

TEST_F(OpsSemanticsTest, GeneratorStateAfterAStepIsThatOfThePlainStack) {
  const auto generator = at::detail::getDefaultCPUGenerator();
  train(plain(twins), inputs, parameters_of(twins));
  const Tensor expected = generator.get_state();
  train(operators(), inputs, parameters_of(blocks));
  EXPECT_TRUE(BitEqual(generator.get_state(), expected));
}

TEST_F(OpsSemanticsTest, RetainGraphAllowsRepeatedBackward) {
  const auto expected = grad({loss_of(plain(twins))}, variables(twins));
  const Tensor loss = loss_of(operators());
  for (const bool retain : {true, false}) {
    EXPECT_TRUE(AllClose(
        grad({loss}, variables(blocks), {}, retain),
        expected,
        kFloat64Tolerance));
  }
}

TEST_F(OpsSemanticsTest, GradientPenaltyEqualsPlainAutograd) {
  const auto penalty = [this](const Stack& stack, const Blocks& of) {
    const auto first =
        grad({loss_of(stack)}, variables(of), {}, true, /*create_graph=*/true);
    Tensor norm = torch::zeros({}, at::kDouble);
    for (const Tensor& gradient : first) {
      norm = norm + gradient.pow(2).sum();
    }
    return grad({norm}, variables(of));
  };
  EXPECT_TRUE(AllClose(
      penalty(operators(), blocks),
      penalty(plain(twins), twins),
      kFloat64Tolerance));
}

TEST_F(OpsSemanticsTest, HookThatScalesScalesOnce) {
  const auto parameters = parameters_of(blocks);
  for (const Tensor& parameter : parameters) {
    parameter.register_hook([](const Tensor& g) { return 2 * g; });
  }
  const auto actual = train(operators(), inputs, parameters).gradients;
  const auto expected =
      train(plain(twins), inputs, parameters_of(twins)).gradients;
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 3; i < actual.size(); ++i) {  // x1, x2, context
    EXPECT_TRUE(AllClose(actual[i], 2 * expected[i], kFloat64Tolerance));
  }
}

TEST_F(OpsSemanticsTest, HooksOfInputsOutputsAndContextFireOnce) {
  int calls = 0;
  const auto count = [&calls](const Tensor&) { ++calls; };
  const auto [y1, y2] = operators()(inputs);
  for (const Tensor& tensor :
       {y1, y2, inputs.x1, inputs.x2, inputs.context[0]}) {
    tensor.register_hook(count);
  }
  weighted_sum({y1, y2}).backward();
  EXPECT_EQ(calls, 5);
}

TEST_F(OpsSemanticsTest, BackwardRunsInAnotherThreadThanForward) {
  const auto expected = grad({loss_of(plain(twins))}, variables(twins));
  const Tensor loss = loss_of(operators());
  std::vector<Tensor> actual;
  std::thread([&] { actual = grad({loss}, variables(blocks)); }).join();
  EXPECT_TRUE(AllClose(actual, expected, kFloat64Tolerance));
}

TEST_F(OpsSemanticsTest, WeightChangedBeforeBackwardThrows) {
  const Tensor loss = loss_of(operators());
  {
    const torch::NoGradGuard no_grad;
    parameters_of(blocks)[0].mul_(2);
  }
  EXPECT_TRUE(Throws<c10::ValueError>(
      [&loss] { loss.backward(); },
      {"parameters of F of block 0", "modified in place"}));
}

TEST_F(OpsSemanticsTest, NothingStaysAfterBackwardWhileTheLossIsHeld) {
  const auto step = [this] {
    const Tensor loss = loss_of(operators());
    grad({loss}, variables(blocks));
    return loss;
  };
  for (int warm_up = 0; warm_up < 3; ++warm_up) {
    step();
  }
  const auto before = MemoryMeter::live();
  const Tensor loss = step();
  EXPECT_EQ(MemoryMeter::live() - before, static_cast<int64_t>(loss.nbytes()));
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
