#include <torchrev/torchrev.h>

#include "support/support.h"

// What a TorchScript branch keeps besides tensors it trains: by value, once a
// step, as in the plain stack.

namespace torchrev {
namespace test {
namespace TORCHREV_TEST_FILE {

constexpr int64_t kWidth = 4;

using torch::jit::Module;

// forward is `body`, and may use a weight, a buffer and these attributes.
Module unit(const std::string& body) {
  Module module("Unit");
  module.register_parameter(
      "weight",
      torch::randn({kWidth, kWidth}, at::kDouble).requires_grad_(),
      /*is_buffer=*/false);
  module.register_buffer("low", torch::zeros({0}, at::kDouble));
  module.register_attribute(
      "trace", c10::ListType::ofInts(), c10::List<int64_t>());
  module.register_attribute(
      "counts",
      c10::DictType::create(c10::StringType::get(), c10::IntType::get()),
      c10::Dict<std::string, int64_t>());
  module.register_attribute("aux", c10::TensorType::get(), torch::zeros({}));
  module.define(
      "def forward(self, x):\n    h = torch.matmul(x, self.weight)\n" + body +
      "\n");
  return module;
}

// A user's module that holds a script, as a branch has it.
struct HolderImpl : torch::nn::Module {
  explicit HolderImpl(const torch::jit::Module& script) : script(script) {
    register_module("script", this->script.module());
  }
  Tensor forward(const Tensor& x) {
    return script(x);
  }
  Branch script;
};

class ScriptStateTest : public testing::Test {
 protected:
  // Three steps against plain autograd over a copy.
  void expect_matches_plain(const std::string& body) {
    for (const bool within_a_module : {false, true}) {
      expect_matches_plain(body, [&](const Module& module) -> Branch {
        return within_a_module ? Branch(std::make_shared<HolderImpl>(module))
                               : Branch(module);
      });
    }
  }

  void expect_matches_plain(
      const std::string& body,
      const std::function<Branch(const Module&)>& branch) {
    const std::vector<Module> ours = {unit(body), unit(body)};
    std::vector<Module> twins;
    for (const auto& module : ours) {
      const at::NoGradGuard no_grad;
      twins.push_back(module.deepcopy());
      twins.back().attr("weight").toTensor().set_requires_grad(true);
    }
    const Blocks blocks = {{branch(ours[0]), branch(ours[1])}};
    const Blocks plains = {{branch(twins[0]), branch(twins[1])}};
    for (int step = 0; step < 3; ++step) {
      EXPECT_TRUE(Matches(
          train(reversible(blocks), inputs, parameters_of(blocks)),
          train(plain(plains), inputs, parameters_of(plains)),
          kFloat64Tolerance));
      for (int i = 0; i < 2; ++i) {
        EXPECT_EQ(
            ours[i].attr("trace").toIntVector(),
            twins[i].attr("trace").toIntVector());
        EXPECT_EQ(ours[i].attr("counts"), twins[i].attr("counts"));
        EXPECT_TRUE(AllClose(
            ours[i].attr("low").toTensor(),
            twins[i].attr("low").toTensor(),
            kFloat64Tolerance));
      }
    }
  }

  Inputs inputs = random_inputs({3, kWidth});
};

TEST_F(ScriptStateTest, ListIsAppendedToOnceAndReadAsInForward) {
  expect_matches_plain(
      "    self.trace.append(x.size(0))\n"
      "    return torch.tanh(h) * (1 + 0.01 * len(self.trace))");
}

TEST_F(ScriptStateTest, DictionaryIsCountedOnce) {
  expect_matches_plain(
      "    if 'calls' not in self.counts:\n"
      "        self.counts['calls'] = 0\n"
      "    self.counts['calls'] += 1\n"
      "    return torch.tanh(h) / self.counts['calls']");
}

TEST_F(ScriptStateTest, BufferThatForwardResizesIsReplayed) {
  expect_matches_plain(
      "    low = x.detach().amin(0)\n"
      "    if self.low.numel() == 0:\n"
      "        self.low.resize_(low.size(0))\n"
      "        self.low.copy_(low)\n"
      "    self.low.copy_(torch.min(low, self.low))\n"
      "    return torch.tanh(h) + self.low.clone()");
}

TEST_F(ScriptStateTest, BackwardThroughAnAuxiliaryLossInAnAttributeIsAnError) {
  const auto g = unit(
      "    self.aux = h.square().mean()\n"
      "    return torch.tanh(h)");
  const Blocks blocks = {{unit("    return torch.tanh(h)"), g}};
  for (int step = 0; step < 3; ++step) {
    const auto [y1, y2] = reversible(blocks)(inputs);
    const auto aux = g.attr("aux").toTensor();
    const auto loss = weighted_sum({y1, y2}) + aux;
    // Whatever is asked for.
    for (const auto& wanted :
         {inputs.x1,
          blocks[0].f.parameters()[0],
          blocks[0].g.parameters()[0]}) {
      EXPECT_THROW_WITH(
          torch::autograd::grad({loss}, {wanted}, {}, /*retain_graph=*/true),
          c10::ValueError,
          "torchrev::Branch",
          "return it from the branch",
          "detach()");
    }
    EXPECT_NO_THROW(weighted_sum({y1, y2}).backward());
  }
}

// The attribute keeps the graph of the last call alone.
TEST_F(ScriptStateTest, GraphsOfAuxiliaryLossesDoNotAddUp) {
  auto branch = unit(
      "    self.aux = h.square().mean()\n"
      "    return torch.tanh(h)");
  const Blocks blocks = {{branch, branch}};
  const auto forward = [&] { reversible(blocks)(inputs); };
  for (int i = 0; i < 5; ++i) {
    forward();
  }
  const auto before = MemoryMeter::live();
  for (int i = 0; i < 5; ++i) {
    forward();
  }
  EXPECT_EQ(MemoryMeter::live(), before);
  // It would keep the branch.
  branch.setattr("aux", torch::zeros({}));
}

TEST_F(ScriptStateTest, AttributeThatForwardAssignsIsReplayed) {
  expect_matches_plain(
      "    self.low = x.detach().amin(0)\n"
      "    self.aux = self.aux + self.low.sum()\n"
      "    return torch.tanh(h) + self.low + 0.1 * self.aux");
}

TEST_F(ScriptStateTest, ReplacedParameterIsThatOfForwardInTheRecompute) {
  for (const bool within_a_module : {false, true}) {
    auto f = unit("    return torch.tanh(h)");
    const Branch branch =
        within_a_module ? Branch(std::make_shared<HolderImpl>(f)) : Branch(f);
    const Blocks blocks = {{branch, unit("    return torch.tanh(h)")}};
    const auto parameters = parameters_of(blocks);
    const auto expected = train(plain(blocks), inputs, parameters);
    for (const bool trained : {false, true}) {
      const auto [y1, y2] = reversible(blocks)(inputs);
      const auto other =
          (1.01 * parameters[0]).detach().requires_grad_(trained);
      f.setattr("weight", other);
      const auto gradients =
          torch::autograd::grad({weighted_sum({y1, y2})}, parameters);
      for (std::size_t i = 0; i < parameters.size(); ++i) {
        EXPECT_TRUE(AllClose(
            gradients[i],
            expected
                .gradients[expected.gradients.size() - parameters.size() + i],
            kFloat64Tolerance));
      }
      EXPECT_TRUE(f.attr("weight").toTensor().is_same(other));
      f.setattr("weight", parameters[0]);
    }
  }
}

}  // namespace TORCHREV_TEST_FILE
}  // namespace test
}  // namespace torchrev
