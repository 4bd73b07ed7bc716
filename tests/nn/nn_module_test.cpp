#include "support/support.h"

#include <sstream>
#include <string>

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 4;

// That the reversible modules are modules like any other of torch::nn.
class ReversibleIsAModuleTest : public testing::Test {
 protected:
  ReversibleIsAModuleTest() {
    stack->push_back(linear(kWidth), mlp(kWidth));
    stack->push_back(linear(kWidth), linear(kWidth));
  }

  static std::vector<std::string> names_of(const torch::nn::Module& module) {
    std::vector<std::string> names;
    for (const auto& parameter : module.named_parameters()) {
      names.push_back(parameter.key());
    }
    return names;
  }

  template <typename Module>
  static std::string printed(const Module& module) {
    std::ostringstream stream;
    stream << module;
    return stream.str();
  }

  torch::nn::Linear f = linear(kWidth);
  torch::nn::Linear g = linear(kWidth);
  nn::ReversibleBlock block{f, g};
  nn::ReversibleSequential stack;
  Tensor x = torch::randn({3, 2 * kWidth}, at::kDouble);
};

TEST_F(ReversibleIsAModuleTest, BlockNamesItsParameters) {
  const std::vector<std::string> expected = {
      "f.weight", "f.bias", "g.weight", "g.bias"};
  EXPECT_EQ(names_of(*block), expected);
  EXPECT_TRUE(block->parameters()[0].is_same(f->weight));
}

TEST_F(ReversibleIsAModuleTest, StackNamesItsParametersByBlock) {
  const std::vector<std::string> expected = {
      "0.f.weight",
      "0.f.bias",
      "0.g.0.weight",
      "0.g.0.bias",
      "0.g.1.weight",
      "0.g.1.bias",
      "0.g.3.weight",
      "0.g.3.bias",
      "1.f.weight",
      "1.f.bias",
      "1.g.weight",
      "1.g.bias"};
  EXPECT_EQ(names_of(*stack), expected);
}

TEST_F(ReversibleIsAModuleTest, TrainsTheModuleGiven) {
  const Tensor before = f->weight.detach().clone();
  torch::optim::SGD optimizer(block->parameters(), /*lr=*/0.1);
  block->forward(x).sum().backward();
  optimizer.step();
  EXPECT_FALSE(torch::equal(f->weight, before));
}

TEST_F(ReversibleIsAModuleTest, BlockCloneHasDistinctParameters) {
  const auto clone = std::dynamic_pointer_cast<nn::ReversibleBlockImpl>(
      block->clone(c10::Device(c10::kCPU)));
  ASSERT_NE(clone, nullptr);
  EXPECT_TRUE(BitEqual(clone->forward(x), block->forward(x)));
  EXPECT_EQ(names_of(*clone), names_of(*block));
  for (std::size_t i = 0; i < block->parameters().size(); ++i) {
    EXPECT_FALSE(clone->parameters()[i].is_alias_of(block->parameters()[i]));
  }
}

TEST_F(ReversibleIsAModuleTest, StackCloneIsIndependent) {
  const auto clone =
      std::dynamic_pointer_cast<nn::ReversibleSequentialImpl>(stack->clone());
  ASSERT_NE(clone, nullptr);
  const Tensor before = stack->forward(x);
  torch::NoGradGuard no_grad;
  for (const Tensor& parameter : stack->parameters()) {
    parameter.zero_();
  }
  EXPECT_TRUE(BitEqual(clone->forward(x), before));
  EXPECT_EQ(names_of(*clone), names_of(*stack));
}

TEST_F(ReversibleIsAModuleTest, CloneTrainsItsOwnParameters) {
  const auto clone =
      std::dynamic_pointer_cast<nn::ReversibleSequentialImpl>(stack->clone());
  clone->forward(x).sum().backward();
  EXPECT_TRUE(clone->parameters()[0].grad().defined());
  EXPECT_FALSE(stack->parameters()[0].grad().defined());
}

// torch::nn::Cloneable builds its modules anew, and has each become a clone.
struct AroundImpl : torch::nn::Cloneable<AroundImpl> {
  AroundImpl() {
    reset();
  }
  void reset() override {
    stack = register_module("stack", nn::ReversibleSequential());
    stack->push_back(linear(kWidth), linear(kWidth));
    block = register_module(
        "block", nn::ReversibleBlock(linear(kWidth), linear(kWidth)));
  }
  nn::ReversibleSequential stack = nullptr;
  nn::ReversibleBlock block = nullptr;
};

TEST_F(ReversibleIsAModuleTest, ClonesWithAModuleAroundIt) {
  const AroundImpl around;
  const auto copy = std::dynamic_pointer_cast<AroundImpl>(around.clone());
  EXPECT_TRUE(BitEqual(copy->parameters(), around.parameters()));
  EXPECT_FALSE(copy->parameters()[0].is_same(around.parameters()[0]));
  auto [stack, block] = std::make_tuple(around.stack, around.block);
  EXPECT_TRUE(BitEqual(copy->stack->forward(x), stack->forward(x)));
  EXPECT_TRUE(BitEqual(copy->block->forward(x), block->forward(x)));
}

TEST_F(ReversibleIsAModuleTest, CloneKeepsTheOptions) {
  nn::ReversibleBlock duplicate(f, g, ReversibleOptions().duplicate());
  const auto clone =
      std::dynamic_pointer_cast<nn::ReversibleBlockImpl>(duplicate->clone());
  EXPECT_EQ(clone->options.streams().kind, Streams::Kind::kDuplicate);
}

TEST_F(ReversibleIsAModuleTest, CloneOfCloneWorks) {
  auto container = torch::nn::Sequential(block, stack);
  const auto clone =
      std::dynamic_pointer_cast<torch::nn::SequentialImpl>(container->clone());
  EXPECT_TRUE(BitEqual(clone->forward(x), container->forward(x)));
}

TEST_F(ReversibleIsAModuleTest, SavesAndLoads) {
  std::stringstream file;
  torch::save(stack, file);
  nn::ReversibleSequential loaded;
  loaded->push_back(linear(kWidth), mlp(kWidth));
  loaded->push_back(linear(kWidth), linear(kWidth));
  EXPECT_FALSE(torch::equal(loaded->forward(x), stack->forward(x)));
  torch::load(loaded, file);
  EXPECT_TRUE(BitEqual(loaded->forward(x), stack->forward(x)));
}

TEST_F(ReversibleIsAModuleTest, ConvertsToAnotherDtype) {
  stack->to(at::kFloat);
  EXPECT_EQ(stack->forward(x.to(at::kFloat)).scalar_type(), at::kFloat);
  stack->to(at::kDouble);
  EXPECT_EQ(stack->forward(x).scalar_type(), at::kDouble);
}

TEST_F(ReversibleIsAModuleTest, TrainAndEvalReachTheBranches) {
  block->eval();
  EXPECT_FALSE(f->is_training());
  EXPECT_FALSE(g->is_training());
  block->train();
  EXPECT_TRUE(f->is_training());
  stack->eval();
  EXPECT_FALSE(stack->branches[1].g.module()->is_training());
}

// A TorchScript branch that doubles its input while it trains.
torch::jit::Module doubling() {
  torch::jit::Module module("Doubling");
  module.register_attribute("training", c10::BoolType::get(), true);
  module.register_parameter(
      "weight", torch::ones({kWidth}, at::kDouble).requires_grad_(), false);
  module.define(R"(
    def forward(self, x):
        if self.training:
            return 2 * x * self.weight
        return x * self.weight
  )");
  return module;
}

TEST_F(ReversibleIsAModuleTest, TrainAndEvalReachTorchScriptBranches) {
  nn::ReversibleBlock scripted_block(doubling(), doubling());
  const Tensor half = torch::ones({1, kWidth}, at::kDouble);
  const Tensor trained =
      std::get<0>(scripted_block->forward_streams(half, half));
  scripted_block->eval();
  const Tensor evaluated =
      std::get<0>(scripted_block->forward_streams(half, half));
  EXPECT_TRUE(BitEqual(trained, 3 * half));
  EXPECT_TRUE(BitEqual(evaluated, 2 * half));
}

TEST_F(ReversibleIsAModuleTest, TorchScriptBranchesConvertAndTrain) {
  nn::ReversibleBlock scripted_block(doubling(), doubling());
  scripted_block->to(at::kFloat);
  const Tensor y = scripted_block->forward(x.to(at::kFloat));
  EXPECT_EQ(y.scalar_type(), at::kFloat);
  y.sum().backward();
  EXPECT_TRUE(scripted_block->named_parameters()["f.weight"].grad().defined());
}

TEST_F(ReversibleIsAModuleTest, FunctionBranchesConvertAndClone) {
  const Branch branch = Branch::function(
      [](const Tensor& x, at::TensorList, at::TensorList parameters) {
        return x * parameters[0];
      },
      {torch::ones({kWidth}, at::kDouble).requires_grad_()});
  nn::ReversibleBlock function_block(branch, linear(kWidth));
  EXPECT_EQ(function_block->parameters().size(), 3U);
  function_block->to(at::kFloat);
  const auto clone = std::dynamic_pointer_cast<nn::ReversibleBlockImpl>(
      function_block->clone());
  const Tensor input = x.to(at::kFloat);
  EXPECT_TRUE(BitEqual(clone->forward(input), function_block->forward(input)));
  clone->forward(input).sum().backward();
  EXPECT_TRUE(clone->parameters()[0].grad().defined());
  EXPECT_FALSE(function_block->parameters()[0].grad().defined());
}

TEST_F(ReversibleIsAModuleTest, ZeroGradClearsTheGradients) {
  stack->forward(x).sum().backward();
  EXPECT_TRUE(stack->parameters()[0].grad().defined());
  stack->zero_grad();
  for (const Tensor& parameter : stack->parameters()) {
    const Tensor gradient = parameter.grad();
    EXPECT_TRUE(!gradient.defined() || gradient.eq(0).all().item<bool>());
  }
}

TEST_F(ReversibleIsAModuleTest, BlockPrintsOptionsAndChildren) {
  EXPECT_EQ(
      printed(block),
      "torchrev::nn::ReversibleBlock(split(dim=-1))(\n"
      "  (f): torch::nn::Linear(in_features=4, out_features=4, bias=true)\n"
      "  (g): torch::nn::Linear(in_features=4, out_features=4, bias=true)\n"
      ")");
}

TEST_F(ReversibleIsAModuleTest, StackPrintsOptionsAndChildren) {
  nn::ReversibleSequential duplicates(ReversibleOptions().duplicate());
  duplicates->push_back(f, g);
  EXPECT_EQ(
      printed(duplicates),
      "torchrev::nn::ReversibleSequential(duplicate())(\n"
      "  (0): torchrev::nn::ReversibleBlock(duplicate())(\n"
      "    (f): torch::nn::Linear(in_features=4, out_features=4, bias=true)\n"
      "    (g): torch::nn::Linear(in_features=4, out_features=4, bias=true)\n"
      "  )\n"
      ")");
}

TEST_F(ReversibleIsAModuleTest, PrintsTheOptionsThatAreNotTheDefaults) {
  const nn::ReversibleSequential stack(
      nn::ReversibleSequentialOptions(ReversibleOptions()
                                          .velocity()
                                          .save_every(2)
                                          .stream_dtype(at::kDouble)
                                          .drift_tolerance(torch::nullopt)
                                          .coupling(momentum_coupling(0.5)))
          .memory_budget(1024));
  EXPECT_EQ(
      printed(stack),
      "torchrev::nn::ReversibleSequential(velocity(), save_every=2, "
      "stream_dtype=Double, drift_tolerance=none, "
      "coupling=momentum_coupling(0.5), memory_budget=1024)");
  const nn::ReversibleBlock affine(
      f, g, ReversibleOptions().coupling(affine_coupling(1)));
  const std::string expected =
      "torchrev::nn::ReversibleBlock(split(dim=-1), "
      "coupling=affine_coupling(1))";
  EXPECT_EQ(printed(affine).substr(0, expected.size()), expected);
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
