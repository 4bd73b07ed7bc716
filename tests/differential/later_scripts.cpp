#include <torch/library.h>

#include <string>

#include "branches.h"
#include "ops/ops_resolver.h"
#include "plain.h"
#include "support/oracle.h"

namespace torchrev {
namespace test {
namespace differential {

namespace {

using torch::jit::Module;

// Lists of numbers and of tensors, appended to in place.
Module lists_script(const StackSpec& stack) {
  auto module = plain_script(stack);
  module.register_attribute(
      "sizes", c10::ListType::ofInts(), c10::List<int64_t>());
  module.register_attribute(
      "means", c10::ListType::ofTensors(), c10::List<Tensor>());
  module.define(R"(
    def forward(self, x):
        self.sizes.append(x.size(0))
        self.means.append(x.detach().mean())
        if len(self.means) > 2:
            self.means.pop(0)
        y = torch.tanh(x * self.weight) / (1.0 + 0.1 * len(self.sizes))
        return y + 0.1 * self.means[0]
  )");
  return module;
}

Module dictionaries_script(const StackSpec& stack) {
  auto module = plain_script(stack);
  module.register_attribute(
      "counts",
      c10::DictType::create(c10::StringType::get(), c10::IntType::get()),
      c10::Dict<std::string, int64_t>());
  module.register_attribute(
      "levels",
      c10::DictType::create(c10::StringType::get(), c10::TensorType::get()),
      c10::Dict<std::string, Tensor>());
  module.define(R"(
    def forward(self, x):
        level = x.detach().mean()
        if 'calls' not in self.counts:
            self.counts['calls'] = 0
            self.levels['mean'] = level
        self.counts['calls'] += 1
        self.levels['mean'] = 0.5 * self.levels['mean'] + level
        y = torch.tanh(x * self.weight) / float(self.counts['calls'])
        return y + 0.1 * self.levels['mean']
  )");
  return module;
}

Module observer_script(const StackSpec& stack) {
  auto module = plain_script(stack);
  module.register_buffer("low", torch::zeros({0}, stack.dtype));
  module.define(R"(
    def forward(self, x):
        low = x.detach().amin(0)
        if self.low.numel() == 0:
            self.low.resize_(low.size())
            self.low.copy_(low)
        self.low.copy_(torch.min(low, self.low))
        return torch.tanh(x * self.weight) + 0.1 * self.low.clone()
  )");
  return module;
}

// Leaves auxiliary losses in an attribute and in a dictionary.
Module auxiliary_script(const StackSpec& stack) {
  auto module = plain_script(stack);
  module.register_attribute(
      "loss", c10::TensorType::get(), torch::zeros({}, stack.dtype));
  module.register_attribute(
      "losses",
      c10::DictType::create(c10::StringType::get(), c10::TensorType::get()),
      c10::Dict<std::string, Tensor>());
  module.define(R"(
    def forward(self, x):
        h = x * self.weight
        self.loss = h.square().mean()
        self.losses['mean'] = h.mean()
        return torch.tanh(h)
  )");
  return module;
}

// A module in a module, each with a parameter and an attribute.
Module tree_script(const StackSpec& stack) {
  auto child = plain_script(stack);
  child.register_attribute("calls", c10::IntType::get(), 0);
  child.define(R"(
    def forward(self, x):
        self.calls += 1
        return torch.tanh(x * self.weight) / float(self.calls)
  )");
  auto module = plain_script(stack);
  module.register_attribute("name", c10::StringType::get(), "");
  module.register_module("child", child);
  module.define(R"(
    def forward(self, x):
        self.name = self.name + "."
        return self.child.forward(x * self.weight)
  )");
  return module;
}

// `torchrev` and `torchrev_test`, as `torch.ops` has them in Python.
struct Resolver : OpsResolver {
  std::shared_ptr<torch::jit::SugaredValue> resolveValue(
      const std::string& name,
      torch::jit::GraphFunction& method,
      const torch::jit::SourceRange& location) override {
    if (name == "torchrev_test") {
      return std::make_shared<torch::jit::BuiltinModule>(name);
    }
    return OpsResolver::resolveValue(name, method, location);
  }
};

TORCH_LIBRARY(torchrev_test, library) {
  // They differ from call to call, so they may not count as pure.
  const auto define = [&](const char* signature, auto function) {
    library.def(
        torch::schema(signature, c10::AliasAnalysisKind::CONSERVATIVE),
        function);
  };
  define("runs_plainly() -> bool", [] { return Within::way() == Way::kPlain; });
  define("as_seen(Tensor x) -> Tensor", as_seen);
}

// The formula, written out.
std::string plain_text(std::size_t depth) {
  std::string text = "        x1 = x\n        x2 = x\n";
  const auto add = [&](const std::string& x, const auto& f, const auto& other) {
    text += "        " + x + " = " + x + " + " + f +
            ".forward(torchrev_test.as_seen(" + other + "))\n";
  };
  for (std::size_t i = 0; i < depth; ++i) {
    const auto block = "getattr(self.blocks, '" + std::to_string(i) + "')";
    add("x1", block + ".f", "x2");
    add("x2", block + ".g", "x1");
  }
  return text + "        y = (x1 + x2) / 2\n";
}

// A stack that a script runs by the operator.
Module stack_script(const StackSpec& outer, const BranchSpec& spec) {
  const auto& stack = *spec.stack;
  std::vector<Module> branches;
  for (const auto& branch : stack.branches) {
    branches.push_back(build_script(stack, branch));
  }
  std::vector<std::pair<Module, Module>> blocks;
  for (const auto& block : stack.blocks) {
    blocks.emplace_back(branches[block.first], branches[block.second]);
  }
  auto module = plain_script(outer);
  module.register_module("blocks", module_list(blocks));
  const auto& options = stack.options;
  module.define(
      "def forward(self, x):\n"
      "    x = torch.tanh(x * self.weight)\n"
      "    if torchrev_test.runs_plainly():\n" +
          plain_text(blocks.size()) +
          "    else:\n"
          "        y = torchrev.reversible_residual(self.blocks, x, "
          "streams='duplicate', save_every=" +
          std::to_string(options.save_every()) +
          ", store_last=" + std::to_string(options.store_last()) +
          ")\n"
          "    return y\n",
      std::make_shared<Resolver>());
  return module;
}

}  // namespace

Module build_later_script(const StackSpec& stack, const BranchSpec& spec) {
  switch (spec.kind) {
    case Kind::kScriptStack:
      return stack_script(stack, spec);
    case Kind::kScriptLists:
      return lists_script(stack);
    case Kind::kScriptDictionaries:
      return dictionaries_script(stack);
    case Kind::kScriptObserver:
      return observer_script(stack);
    case Kind::kScriptAuxiliary:
      return auxiliary_script(stack);
    default:
      return tree_script(stack);
  }
}

}  // namespace differential
}  // namespace test
}  // namespace torchrev
