#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/util/Exception.h>

#include "ops/ops_resolver.h"
#include "support/support.h"

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 4;

class OpsContextTest : public testing::Test {
 protected:
  // forward(self, x, `more`), which returns its input.
  static torch::jit::Module branch(const std::string& more) {
    torch::jit::Module module("Branch");
    module.define("def forward(self, x" + more + "):\n    return x\n");
    return module;
  }

  torch::jit::Module g = branch("");
  Inputs inputs = random_inputs({3, kWidth});
};

TEST(OpsCheckDeferredTest, SchemaIsPinnedAndNothingIsFoundOnTheCpu) {
  const auto op =
      c10::Dispatcher::singleton().findSchema({"torchrev::check_deferred", ""});
  ASSERT_TRUE(op);
  EXPECT_EQ(c10::str(op->schema()), "torchrev::check_deferred() -> ()");
  EXPECT_EQ(op->schema().aliasAnalysis(), c10::AliasAnalysisKind::CONSERVATIVE);
  torch::jit::Stack stack;
  EXPECT_NO_THROW(op->callBoxed(&stack));
  EXPECT_TRUE(stack.empty());
}

TEST_F(OpsContextTest, NoneForATensorOfContextNamesTheArgument) {
  const auto greedy = branch(", mask");
  EXPECT_THROW_WITH(
      ops::reversible_block(greedy, g, inputs.x1, inputs.x2, {Tensor()}),
      c10::TypeError,
      "torchrev::reversible_block",
      "argument `mask` of `forward` of `f`",
      "None",
      "Optional[Tensor]");
  EXPECT_THROW_WITH(
      torchrev::reversible_block(
          Branch(greedy), Branch(g), inputs.x1, inputs.x2, {Tensor()}),
      c10::TypeError,
      "torchrev::Branch",
      "argument `mask` of `forward`",
      "None");
}

TEST_F(OpsContextTest, ContextForAnArgumentThatIsNoTensorIsNamed) {
  const auto scaled = branch(", scale: float");
  EXPECT_THROW_WITH(
      ops::reversible_block(scaled, g, inputs.x1, inputs.x2, {inputs.x1}),
      c10::TypeError,
      "torchrev::reversible_block",
      "argument `scale` of `forward` of `f`",
      "float");
}

TEST_F(OpsContextTest, TakesABranchWhoseInputIsOptional) {
  torch::jit::Module optional("Optional");
  optional.define(
      "def forward(self, x: Optional[Tensor]):\n"
      "    assert x is not None\n"
      "    return torch.sin(x)\n");
  const auto [y1, y2] =
      ops::reversible_block(optional, optional, inputs.x1, inputs.x2);
  const auto [z1, z2] = additive_coupling(
      Branch::function([](const Tensor& x, at::TensorList, at::TensorList) {
        return x.sin();
      }),
      Branch::function([](const Tensor& x, at::TensorList, at::TensorList) {
        return x.sin();
      }),
      inputs.x1,
      inputs.x2);
  EXPECT_TRUE(BitEqual({y1, y2}, {z1, z2}));
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
