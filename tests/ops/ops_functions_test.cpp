#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/util/Exception.h>

#include "ops/ops_resolver.h"
#include "support/support.h"

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 4;

const std::string kKeywords =
    "bool preserve_rng_state=True, int save_every=0, int store_last=0, "
    "int chunks_f=1, int chunks_g=1, int chunk_dim=1, ScalarType? "
    "stream_dtype=None, int? fraction_bits=None, float? "
    "drift_tolerance=0.050000000000000003, "
    "str coupling=\"additive\", float momentum=0.90000000000000002, "
    "bool mutable_buffers=False, bool verify_constant_buffers=False, "
    "bool verify_first_call=True";

struct Signature {
  std::string name;
  std::string arguments;
  std::string keywords;
  std::string returns;
};

class OpsSchemaTest : public testing::TestWithParam<Signature> {};

TEST_P(OpsSchemaTest, IsPinned) {
  const auto& [name, arguments, keywords, returns] = GetParam();
  for (const std::string overload : {"", "context"}) {
    const auto op = c10::Dispatcher::singleton().findSchema(
        {"torchrev::" + name, overload});
    ASSERT_TRUE(op) << name << " " << overload;
    EXPECT_EQ(
        c10::str(op->schema()),
        "torchrev::" + name + (overload.empty() ? "" : "." + overload) + "(" +
            arguments + (overload.empty() ? "" : ", Any context") + ", *, " +
            keywords + kKeywords + ") -> " + returns);
    EXPECT_EQ(
        op->schema().aliasAnalysis(), c10::AliasAnalysisKind::CONSERVATIVE);
  }
}

TEST(OpsRememberTest, SchemaIsPinned) {
  const auto op =
      c10::Dispatcher::singleton().findSchema({"torchrev::remember", ""});
  ASSERT_TRUE(op);
  EXPECT_EQ(
      c10::str(op->schema()),
      "torchrev::remember(str name, Tensor tensor) -> Tensor");
  EXPECT_EQ(op->schema().aliasAnalysis(), c10::AliasAnalysisKind::CONSERVATIVE);
}

INSTANTIATE_TEST_SUITE_P(
    All,
    OpsSchemaTest,
    testing::Values(
        Signature{
            "reversible_block",
            "Any f, Any g, Tensor x1, Tensor x2",
            "",
            "(Tensor, Tensor)"},
        Signature{
            "reversible_block_inverse",
            "Any f, Any g, Tensor y1, Tensor y2",
            "",
            "(Tensor, Tensor)"},
        Signature{
            "reversible_sequence",
            "Any blocks, Tensor x1, Tensor x2",
            "",
            "(Tensor, Tensor)"},
        Signature{
            "reversible_sequence_inverse",
            "Any blocks, Tensor y1, Tensor y2",
            "",
            "(Tensor, Tensor)"},
        Signature{
            "reversible_residual",
            "Any blocks, Tensor x",
            "str streams=\"split\", int dim=-1, ",
            "Tensor"},
        Signature{
            "reversible_residual_inverse",
            "Any blocks, Tensor y",
            "int dim=-1, ",
            "Tensor"}),
    [](const auto& info) { return info.param.name; });

// Takes `context` tensors after x and returns `result`.
torch::jit::Module branch(
    const std::string& context = "",
    const std::string& result = "torch.tanh(torch.matmul(x, self.weight))") {
  torch::jit::Module module("Branch");
  module.register_parameter(
      "weight",
      torch::randn({kWidth, kWidth}, at::kDouble).requires_grad_(),
      /*is_buffer=*/false);
  module.define(
      "def forward(self, x" + context + "):\n    return " + result + "\n");
  return module;
}

class OpsFunctionsTest : public testing::Test {
 protected:
  torch::jit::Module f = branch();
  torch::jit::Module g = branch();
  torch::jit::Module list = module_list({{f, g}, {g, f}});
  Blocks blocks = {{f, g}, {g, f}};
  Inputs inputs = random_inputs({3, kWidth});
  Tensor x = torch::randn({3, 2 * kWidth}, at::kDouble);
};

TEST_F(OpsFunctionsTest, BlockMatchesPlain) {
  const Blocks block = {{f, g}};
  EXPECT_TRUE(Matches(
      train(
          [this](const Inputs& in) {
            return ops::reversible_block(f, g, in.x1, in.x2);
          },
          inputs,
          parameters_of(block)),
      train(plain(block), inputs, parameters_of(block)),
      kFloat64Tolerance));
}

TEST_F(OpsFunctionsTest, SequenceMatchesPlain) {
  EXPECT_TRUE(Matches(
      train(
          [this](const Inputs& in) {
            return ops::reversible_sequence(list, in.x1, in.x2);
          },
          inputs,
          parameters_of(blocks)),
      train(plain(blocks), inputs, parameters_of(blocks)),
      kFloat64Tolerance));
}

// Calls the operator itself, from TorchScript.
c10::IValue called(
    const torch::jit::Module& list, const std::string& call, const Tensor& x) {
  torch::jit::Module module("Stack");
  module.register_module("blocks", list);
  module.define(
      "def forward(self, x):\n    return torchrev." + call + "\n",
      std::make_shared<OpsResolver>());
  return module.forward({x});
}

TEST_F(OpsFunctionsTest, ResidualSplitsAlongItsDimension) {
  const auto expected = reversible_residual(blocks, x);
  EXPECT_TRUE(BitEqual(ops::reversible_residual(list, x), expected));
  EXPECT_TRUE(BitEqual(
      called(list, "reversible_residual(self.blocks, x)", x).toTensor(),
      expected));
  const Tensor tall = torch::randn({6, kWidth}, at::kDouble);
  EXPECT_TRUE(BitEqual(
      called(list, "reversible_residual(self.blocks, x, dim=0)", tall)
          .toTensor(),
      reversible_residual(blocks, tall, {}, ReversibleOptions().split(0))));
}

TEST_F(OpsFunctionsTest, ResidualDuplicates) {
  EXPECT_TRUE(BitEqual(
      called(
          list,
          "reversible_residual(self.blocks, x, streams='duplicate')",
          inputs.x1)
          .toTensor(),
      reversible_residual(
          blocks, inputs.x1, {}, ReversibleOptions().duplicate())));
}

TEST_F(OpsFunctionsTest, UnknownStreamsAreAnError) {
  try {
    called(list, "reversible_residual(self.blocks, x, streams='thirds')", x);
    FAIL() << "threw nothing";
  } catch (const std::exception& error) {
    EXPECT_TRUE(HasErrorForm(
        message_of(error),
        {"torchrev::reversible_residual", "`streams`", "\"thirds\""}));
  }
}

TEST_F(OpsFunctionsTest, BranchThatReturnsATupleIsNamed) {
  const auto tuple = module_list({{f, g}, {f, branch("", "(x, x)")}});
  EXPECT_THROW_WITH(
      ops::reversible_sequence(tuple, inputs.x1, inputs.x2),
      c10::ValueError,
      "torchrev::reversible_sequence",
      "`blocks[1].g`",
      "to return one tensor");
}

TEST_F(OpsFunctionsTest, BranchWithoutArgumentsIsNamed) {
  torch::jit::Module none("None");
  none.define("def forward(self):\n    return torch.zeros([1])\n");
  EXPECT_THROW_WITH(
      ops::reversible_block(f, none, inputs.x1, inputs.x2),
      c10::ValueError,
      "torchrev::reversible_block",
      "`g`",
      "to take a tensor");
}

TEST_F(OpsFunctionsTest, BranchThatTakesMoreContextThanTheCallHasIsNamed) {
  const auto greedy = branch(", a, b");
  EXPECT_THROW_WITH(
      ops::reversible_block_inverse(
          greedy, g, inputs.x1, inputs.x2, {inputs.x1}),
      c10::ValueError,
      "torchrev::reversible_block_inverse",
      "`f`",
      "at most 1 context");
}

TEST_F(OpsFunctionsTest, ArgumentsWithDefaultsNeedNoContext) {
  const auto lenient = branch(", scale: float = 1.0");
  EXPECT_NO_THROW(ops::reversible_block(lenient, g, inputs.x1, inputs.x2));
}

TEST_F(OpsFunctionsTest, BlockWhoseBranchIsNoModuleIsNamed) {
  torch::jit::Module block("Block");
  block.register_attribute("f", c10::TensorType::get(), inputs.x1);
  torch::jit::Module bare("ModuleList");
  bare.register_module("0", block);
  EXPECT_THROW_WITH(
      ops::reversible_sequence(bare, inputs.x1, inputs.x2),
      c10::ValueError,
      "torchrev::reversible_sequence",
      "`blocks[0]`",
      "submodule `f`");
}

// What torch.jit.freeze leaves of a list of which it was told to keep a part.
TEST_F(OpsFunctionsTest, ListWithAGapIsAnError) {
  torch::jit::Module gap("ModuleList");
  gap.register_module("1", list.attr("1").toModule());
  EXPECT_THROW_WITH(
      ops::reversible_sequence(gap, inputs.x1, inputs.x2),
      c10::ValueError,
      "torchrev::reversible_sequence",
      "preserved_attrs");
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
