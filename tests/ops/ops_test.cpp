#include "ops/ops_resolver.h"
#include "support/oracle.h"

#include <sstream>
#include <string>

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 4;

void define(torch::jit::Module& module, const std::string& body) {
  module.define(
      "def forward(self, x1, x2):\n    " + body + "\n",
      std::make_shared<OpsResolver>());
}

// Two scripted blocks in a tree as Python's ModuleList has it.
class OpsTest : public testing::Test {
 protected:
  OpsTest() {
    torch::manual_seed(1);
    std::vector<std::pair<torch::jit::Module, torch::jit::Module>> modules;
    for (int i = 0; i < 2; ++i) {
      modules.emplace_back(scripted(kWidth), scripted(kWidth));
      blocks.push_back({modules.back().first, modules.back().second});
    }
    list = module_list(modules);
  }

  // A module whose forward(x1, x2) calls `call`; knows `self.blocks`, and the
  // branches of the first block as `self.f` and `self.g`.
  torch::jit::Module calling(const std::string& call) {
    torch::jit::Module module("Stack");
    module.register_module("blocks", list);
    const auto first = list.attr("0").toModule();
    module.register_module("f", first.attr("f").toModule());
    module.register_module("g", first.attr("g").toModule());
    define(module, "return torchrev." + call);
    return module;
  }

  static Stack stack_of(torch::jit::Module module) {
    return [module](const Inputs& inputs) mutable {
      const auto result = module.forward({inputs.x1, inputs.x2}).toTuple();
      return std::make_tuple(
          result->elements()[0].toTensor(), result->elements()[1].toTensor());
    };
  }

  // A step through `call` against one of plain autograd over `expected`.
  testing::AssertionResult CallMatchesPlain(
      const std::string& call, const Blocks& expected) {
    const auto parameters = parameters_of(expected);
    return Matches(
        train(stack_of(calling(call)), inputs, parameters),
        train(plain(expected), inputs, parameters),
        kFloat64Tolerance);
  }

  // The interpreter wraps what an operator throws, so only text is left of it.
  testing::AssertionResult CallThrows(
      torch::jit::Module module, const std::vector<std::string>& parts) {
    try {
      module.forward({inputs.x1, inputs.x2});
    } catch (const std::exception& error) {
      return HasErrorForm(message_of(error), parts);
    }
    return testing::AssertionFailure() << "threw nothing";
  }

  torch::jit::Module list{"ModuleList"};
  Blocks blocks;
  Inputs inputs = random_inputs({3, kWidth});
};

TEST_F(OpsTest, BlockMatchesPlain) {
  EXPECT_TRUE(CallMatchesPlain(
      "reversible_block(self.f, self.g, x1, x2)", {blocks[0]}));
}

TEST_F(OpsTest, SequenceMatchesPlain) {
  EXPECT_TRUE(
      CallMatchesPlain("reversible_sequence(self.blocks, x1, x2)", blocks));
}

TEST_F(OpsTest, SequenceMatchesPlainWhenItsExecutorHasWarmedUp) {
  const auto stack =
      stack_of(calling("reversible_sequence(self.blocks, x1, x2)"));
  const auto parameters = parameters_of(blocks);
  const Step expected = train(plain(blocks), inputs, parameters);
  for (int run = 0; run < 4; ++run) {
    EXPECT_TRUE(
        Matches(train(stack, inputs, parameters), expected, kFloat64Tolerance));
  }
}

TEST_F(OpsTest, AcceptsTheDefaultOfEveryKeyword) {
  EXPECT_TRUE(CallMatchesPlain(
      "reversible_sequence(self.blocks, x1, x2, preserve_rng_state=True, "
      "save_every=0, store_last=0, chunks_f=1, chunks_g=1, chunk_dim=1, "
      "stream_dtype=None, fraction_bits=None, drift_tolerance=0.05, "
      "coupling='additive', "
      "momentum=0.9, mutable_buffers=False, verify_constant_buffers=False, "
      "verify_first_call=True)",
      blocks));
}

TEST_F(OpsTest, AcceptsPreserveRngStateOff) {
  EXPECT_TRUE(CallMatchesPlain(
      "reversible_block(self.f, self.g, x1, x2, preserve_rng_state=False)",
      {blocks[0]}));
}

TEST_F(OpsTest, KeptBlocksMatchPlain) {
  for (const std::string keywords : {"save_every=1", "store_last=1"}) {
    EXPECT_TRUE(CallMatchesPlain(
        "reversible_sequence(self.blocks, x1, x2, " + keywords + ")", blocks))
        << keywords;
  }
}

struct Keyword {
  std::string text;
  ReversibleOptions options;
};

TEST_F(OpsTest, KeywordsReachTheLibrary) {
  const std::vector<Keyword> keywords = {
      {"fraction_bits=20", ReversibleOptions().fraction_bits(20)},
      {"drift_tolerance=None",
       ReversibleOptions().drift_tolerance(torch::nullopt)},
      {"coupling='momentum', momentum=0.5",
       ReversibleOptions().coupling(momentum_coupling(0.5))}};
  const auto parameters = parameters_of(blocks);
  for (const auto& [text, options] : keywords) {
    SCOPED_TRACE(text);
    const auto stack = stack_of(
        calling("reversible_sequence(self.blocks, x1, x2, " + text + ")"));
    EXPECT_TRUE(Matches(
        train(stack, inputs, parameters),
        train(plain(blocks, options), inputs, parameters),
        kFloat64Tolerance));
  }
}

// Products of other sizes are summed in another order: chunks are compared with
// the library's own, to the bit (ChunkTest compares those with the whole).
TEST_F(OpsTest, ChunksReachTheLibrary) {
  const std::vector<Keyword> keywords = {
      {"chunks_f=2, chunk_dim=0", ReversibleOptions().chunks_f(2).chunk_dim(0)},
      {"chunks_g=3, chunk_dim=0",
       ReversibleOptions().chunks_g(3).chunk_dim(0)}};
  const auto parameters = parameters_of(blocks);
  for (const auto& [text, options] : keywords) {
    SCOPED_TRACE(text);
    const auto actual = train(
        stack_of(
            calling("reversible_sequence(self.blocks, x1, x2, " + text + ")")),
        inputs,
        parameters);
    const auto expected =
        train(reversible(blocks, options), inputs, parameters);
    EXPECT_TRUE(BitEqual(actual.outputs, expected.outputs));
    EXPECT_TRUE(BitEqual(actual.gradients, expected.gradients));
  }
}

TEST_F(OpsTest, ThrowsForWrongKeywordValues) {
  for (const std::string keyword :
       {"stream_dtype=6",  // float32, below the inputs' float64
        "fraction_bits=60",
        "drift_tolerance=0.0",
        "coupling='additiv'",
        "momentum=0.5"}) {
    SCOPED_TRACE(keyword);
    const auto name = keyword.substr(0, keyword.find('='));
    EXPECT_TRUE(CallThrows(
        calling("reversible_sequence(self.blocks, x1, x2, " + keyword + ")"),
        {name}));
    EXPECT_TRUE(CallThrows(
        calling("reversible_block(self.f, self.g, x1, x2, " + keyword + ")"),
        {name}));
  }
}

TEST_F(OpsTest, UnknownKeywordDoesNotCompile) {
  EXPECT_ANY_THROW(
      calling("reversible_block(self.f, self.g, x1, x2, unknown=1)"));
}

TEST_F(OpsTest, SurvivesSaveAndLoad) {
  const auto module = calling("reversible_sequence(self.blocks, x1, x2)");
  std::stringstream file;
  module.save(file);
  const auto loaded = torch::jit::load(file);
  const auto [y1, y2] = stack_of(loaded)(inputs);
  const auto [z1, z2] = plain(blocks)(inputs);
  EXPECT_TRUE(BitEqual(y1, z1));
  EXPECT_TRUE(BitEqual(y2, z2));
}

TEST_F(OpsTest, EqualCallsThatDrawAreNotMerged) {
  torch::jit::Module module("Twice");
  torch::jit::Module noise("Noise");
  noise.define(R"(
    def forward(self, x):
        return torch.rand_like(x)
  )");
  module.register_module("f", noise);
  define(
      module,
      "return torchrev.reversible_block(self.f, self.f, x1, x2)[0], "
      "torchrev.reversible_block(self.f, self.f, x1, x2)[0]");
  const auto [first, second] = stack_of(module)(inputs);
  EXPECT_FALSE(torch::equal(first, second));
}

TEST_F(OpsTest, ThrowsForEmptyListOfBlocks) {
  torch::jit::Module module("Stack");
  module.register_module("blocks", torch::jit::Module("ModuleList"));
  define(module, "return torchrev.reversible_sequence(self.blocks, x1, x2)");
  EXPECT_TRUE(
      CallThrows(module, {"torchrev::reversible_sequence", "preserved_attrs"}));
}

TEST_F(OpsTest, ThrowsForModuleWithoutForward) {
  torch::jit::Module module("Stack");
  module.register_module("f", torch::jit::Module("Empty"));
  define(module, "return torchrev.reversible_block(self.f, self.f, x1, x2)");
  EXPECT_TRUE(CallThrows(
      module, {"torchrev::reversible_block", "`forward`", "preserved_attrs"}));
}

TEST_F(OpsTest, ThrowsForBlockWithoutBranches) {
  torch::jit::Module module("Stack");
  torch::jit::Module bare("ModuleList");
  bare.register_module("0", torch::jit::Module("Block"));
  module.register_module("blocks", bare);
  define(module, "return torchrev.reversible_sequence(self.blocks, x1, x2)");
  EXPECT_TRUE(CallThrows(module, {"torchrev::reversible_sequence", "f"}));
}

TEST_F(OpsTest, ThrowsForWhatIsNoModule) {
  EXPECT_TRUE(CallThrows(
      calling("reversible_block(x1, self.g, x1, x2)"),
      {"torchrev::reversible_block", "module"}));
}

TEST_F(OpsTest, ThrowsForStreamsOfDifferentShapes) {
  inputs.x2 = torch::randn({2, kWidth}, at::kDouble);
  EXPECT_TRUE(CallThrows(
      calling("reversible_sequence(self.blocks, x1, x2)"),
      {"torchrev::reversible_sequence", "[2, 4]"}));
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
