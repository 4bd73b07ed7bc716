#include "support/support.h"

#include <memory>

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 4;

Tensor sample() {
  return torch::randn({3, kWidth}, at::kDouble);
}

// A module whose result shows which context it was given.
struct WeighContextImpl : torch::nn::Module {
  Tensor forward(const Tensor& x, const Tensor& a = {}, const Tensor& b = {}) {
    Tensor y = x;
    y = a.defined() ? y + 10 * a : y;
    return b.defined() ? y + 100 * b : y;
  }
};
TORCH_MODULE(WeighContext);

Branch weigh_context_function() {
  return Branch::function(
      [](const Tensor& x, at::TensorList context, at::TensorList) {
        Tensor y = x;
        double weight = 1;
        for (const Tensor& tensor : context) {
          y = y + (weight *= 10) * tensor;
        }
        return y;
      });
}

torch::jit::Module weigh_context_script() {
  torch::jit::Module module("WeighContext");
  module.define(R"(
    def forward(self, x, a, b):
        return x + 10 * a + 100 * b
  )");
  return module;
}

TEST(BranchTest, CallsSequential) {
  auto module = mlp(kWidth);
  const Tensor x = sample();
  EXPECT_TRUE(BitEqual(Branch(module)(x), module->forward(x)));
}

TEST(BranchTest, CallsModuleHolder) {
  auto module = linear(kWidth);
  const Tensor x = sample();
  EXPECT_TRUE(BitEqual(Branch(module)(x), module->forward(x)));
}

TEST(BranchTest, CallsSharedPointerToModule) {
  const std::shared_ptr<AttentionImpl> module = attention(kWidth).ptr();
  const Tensor x = torch::randn({2, 3, kWidth}, at::kDouble);
  EXPECT_TRUE(BitEqual(Branch(module)(x), module->forward(x)));
}

TEST(BranchTest, CallsAnyModule) {
  auto module = linear(kWidth);
  const Tensor x = sample();
  const Branch branch = torch::nn::AnyModule(module);
  EXPECT_TRUE(BitEqual(branch(x), module->forward(x)));
}

TEST(BranchTest, CallsTorchScriptModule) {
  auto module = scripted(kWidth);
  const Tensor x = sample();
  EXPECT_TRUE(BitEqual(Branch(module)(x), module.forward({x}).toTensor()));
}

TEST(BranchTest, CallsFunctionWithItsParameters) {
  const Tensor weight = torch::randn({kWidth, kWidth}, at::kDouble);
  const Branch branch = Branch::function(
      [](const Tensor& x, at::TensorList, at::TensorList parameters) {
        return x.matmul(parameters[0]);
      },
      {weight});
  const Tensor x = sample();
  EXPECT_TRUE(BitEqual(branch(x), x.matmul(weight)));
}

TEST(BranchTest, CopiesShareTheModule) {
  auto module = linear(kWidth);
  const Branch branch = module;
  const Branch copy = branch;
  EXPECT_EQ(branch.module(), module.ptr());
  EXPECT_EQ(copy.module(), module.ptr());
}

TEST(BranchTest, ParametersAreThoseOfTheModule) {
  auto module = linear(kWidth);
  const auto parameters = Branch(module).parameters();
  ASSERT_EQ(parameters.size(), 2U);
  EXPECT_TRUE(parameters[0].is_same(module->weight));
  EXPECT_TRUE(parameters[1].is_same(module->bias));
}

TEST(BranchTest, BuffersAreThoseOfTheModule) {
  torch::nn::BatchNorm1d module(kWidth);
  const auto buffers = Branch(module).buffers();
  ASSERT_EQ(buffers.size(), 3U);
  EXPECT_TRUE(buffers[0].is_same(module->running_mean));
}

TEST(BranchTest, ModuleOfFunctionHoldsParametersAndBuffers) {
  const Tensor weight = torch::randn({kWidth}).requires_grad_();
  const Tensor buffer = torch::zeros({kWidth});
  const Branch branch = Branch::function(
      [](const Tensor& x, at::TensorList, at::TensorList parameters) {
        return x * parameters[0];
      },
      {weight},
      {buffer});
  const auto module = branch.module();
  ASSERT_EQ(module->parameters().size(), 1U);
  EXPECT_TRUE(module->parameters()[0].is_same(weight));
  ASSERT_EQ(module->buffers().size(), 1U);
  EXPECT_TRUE(module->buffers()[0].is_same(buffer));
}

TEST(BranchTest, ModuleOfTorchScriptMirrorsItsTree) {
  torch::jit::Module outer("Outer");
  auto inner = scripted(kWidth);
  outer.register_module("inner", inner);
  outer.define(R"(
    def forward(self, x):
        return self.inner.forward(x)
  )");
  const auto parameters = Branch(outer).module()->named_parameters();
  ASSERT_EQ(parameters.size(), 1U);
  EXPECT_EQ(parameters[0].key(), "inner.weight");
  EXPECT_TRUE(
      parameters[0].value().is_alias_of(inner.attr("weight").toTensor()));
}

TEST(BranchTest, ThrowsForNullModule) {
  const std::shared_ptr<AttentionImpl> null;
  EXPECT_THROW_WITH(Branch{null}, c10::Error, "torchrev::Branch", "module");
}

TEST(BranchTest, ThrowsForEmptyModuleHolder) {
  const torch::nn::Linear empty = nullptr;
  EXPECT_ANY_THROW(Branch{empty});
}

TEST(BranchTest, ThrowsForEmptyAnyModule) {
  EXPECT_THROW_WITH(
      Branch{torch::nn::AnyModule()}, c10::Error, "torchrev::Branch");
}

// Context is [a, b] below; each kind of branch computes x + 10 a + 100 b of
// what it gets.
class BranchContextTest : public testing::Test {
 protected:
  Tensor x = sample();
  Tensor a = sample();
  Tensor b = sample();
  std::vector<Tensor> context = {a, b};
};

TEST_F(BranchContextTest, ModuleGetsNoneByDefault) {
  EXPECT_TRUE(BitEqual(Branch(WeighContext())(x, context), x));
}

TEST_F(BranchContextTest, ModuleGetsAllOnRequest) {
  const Branch branch = Branch(WeighContext()).context();
  EXPECT_TRUE(BitEqual(branch(x, context), x + 10 * a + 100 * b));
}

TEST_F(BranchContextTest, ModuleGetsSomeInTheOrderOfItsIndices) {
  const Branch branch(WeighContext{});
  EXPECT_TRUE(BitEqual(branch.context({1})(x, context), x + 10 * b));
  EXPECT_TRUE(
      BitEqual(branch.context({1, 0})(x, context), x + 10 * b + 100 * a));
}

TEST_F(BranchContextTest, FunctionGetsNoneByDefault) {
  EXPECT_TRUE(BitEqual(weigh_context_function()(x, context), x));
}

TEST_F(BranchContextTest, FunctionGetsAllOnRequest) {
  const Branch branch = weigh_context_function().context();
  EXPECT_TRUE(BitEqual(branch(x, context), x + 10 * a + 100 * b));
}

TEST_F(BranchContextTest, FunctionGetsSomeInTheOrderOfItsIndices) {
  const Branch branch = weigh_context_function().context({1, 0});
  EXPECT_TRUE(BitEqual(branch(x, context), x + 10 * b + 100 * a));
}

TEST_F(BranchContextTest, TorchScriptGetsWhatItsSchemaHas) {
  const Branch branch = weigh_context_script();
  EXPECT_TRUE(BitEqual(branch(x, context), x + 10 * a + 100 * b));
  EXPECT_TRUE(Branch(scripted(kWidth)).select(context).empty());
}

TEST_F(BranchContextTest, TorchScriptGetsSomeInTheOrderOfItsIndices) {
  const Branch branch = Branch(weigh_context_script()).context({1, 0});
  EXPECT_TRUE(BitEqual(branch(x, context), x + 10 * b + 100 * a));
}

TEST_F(BranchContextTest, AnyModuleGetsSomeInTheOrderOfItsIndices) {
  const Branch branch =
      Branch(torch::nn::AnyModule(torch::nn::Bilinear(kWidth, kWidth, 1)))
          .context({1});
  EXPECT_EQ(branch.select(context).size(), 1U);
  EXPECT_TRUE(branch.select(context)[0].is_same(b));
}

TEST_F(BranchContextTest, LeavesTheOriginalBranchAlone) {
  const Branch branch(WeighContext{});
  branch.context();
  EXPECT_TRUE(branch.select(context).empty());
}

TEST_F(BranchContextTest, ThrowsForIndexOutOfRange) {
  const Branch branch = Branch(WeighContext()).context({2});
  EXPECT_THROW_WITH(branch(x, context), c10::IndexError, "2");
  EXPECT_THROW_WITH(branch.select(context), c10::IndexError, "2");
}

TEST_F(BranchContextTest, ThrowsForNegativeIndex) {
  EXPECT_THROW_WITH(
      Branch(WeighContext()).context({-1})(x, context), c10::IndexError, "-1");
}

TEST_F(BranchContextTest, ThrowsForMoreTensorsThanTheModuleTakes) {
  const Branch branch = Branch(linear(kWidth)).context();
  EXPECT_THROW_WITH(branch(x, context), c10::Error, "2", "context");
}

TEST_F(BranchContextTest, ThrowsForFewerTensorsThanTheSchemaHas) {
  const Branch branch = weigh_context_script();
  EXPECT_THROW_WITH(branch(x, {a}), c10::IndexError, "1");
}

TEST(BranchCloneTest, CopiesTheModule) {
  auto module = linear(kWidth);
  const Branch branch = module;
  const Branch clone = branch.clone();
  const Tensor x = sample();
  EXPECT_TRUE(BitEqual(clone(x), branch(x)));
  EXPECT_FALSE(clone.parameters()[0].is_alias_of(module->weight));
  EXPECT_TRUE(clone.parameters()[0].requires_grad());
}

TEST(BranchCloneTest, CopiesTheParametersOfFunction) {
  const Tensor weight = torch::ones({kWidth}, at::kDouble).requires_grad_();
  const Branch branch = Branch::function(
      [](const Tensor& x, at::TensorList, at::TensorList parameters) {
        return x * parameters[0];
      },
      {weight});
  const Branch clone = branch.clone();
  torch::NoGradGuard no_grad;
  weight.mul_(2);
  const Tensor x = sample();
  EXPECT_TRUE(BitEqual(branch(x), 2 * x));
  EXPECT_TRUE(BitEqual(clone(x), x));
}

TEST(BranchCloneTest, CopiesTorchScriptModule) {
  const Branch branch = scripted(kWidth);
  const Branch clone = branch.clone(c10::Device(c10::kCPU));
  const Tensor x = sample();
  const Tensor before = branch(x);
  torch::NoGradGuard no_grad;
  branch.parameters()[0].zero_();
  EXPECT_TRUE(BitEqual(clone(x), before));
  EXPECT_TRUE(BitEqual(branch(x), torch::zeros_like(x)));
}

TEST(BranchCloneTest, KeepsTheContextRouting) {
  const Branch branch = weigh_context_function().context({1}).clone();
  const Tensor x = sample();
  const Tensor b = sample();
  EXPECT_TRUE(BitEqual(branch(x, {sample(), b}), x + 10 * b));
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
