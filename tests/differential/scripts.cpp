#include <string>

#include "branches.h"

namespace torchrev {
namespace test {
namespace differential {

torch::jit::Module plain_script(const StackSpec& stack) {
  torch::jit::Module module("Script");
  module.register_attribute("training", c10::BoolType::get(), true);
  module.register_parameter(
      "weight", sample_weight(stack), /*is_buffer=*/false);
  return module;
}

namespace {

torch::jit::Module batch_norm_script(const StackSpec& stack) {
  auto module = plain_script(stack);
  const auto options = at::TensorOptions(stack.dtype);
  module.register_buffer("mean", torch::zeros({channels(stack)}, options));
  module.register_buffer("var", torch::ones({channels(stack)}, options));
  // Tokens have their channels last.
  const bool tokens = stack.domain == Domain::kTokens;
  const std::string before = tokens ? "x.transpose(1, 2)" : "x";
  const std::string after = tokens ? "y.transpose(1, 2)" : "y";
  module.define(
      "def forward(self, x):\n"
      "    y = torch.batch_norm(" +
      before +
      ", None, None, self.mean,\n"
      "        self.var, self.training, 0.3, 1e-5, False)\n"
      "    return torch.tanh(" +
      after + " * self.weight)\n");
  return module;
}

// An attribute that is counted up, a buffer that is replaced and one that is
// updated in place; the output depends on the former two.
torch::jit::Module state_script(const StackSpec& stack) {
  auto module = plain_script(stack);
  const auto options = at::TensorOptions(stack.dtype);
  module.register_attribute("calls", c10::IntType::get(), 0);
  module.register_buffer("level", torch::ones({1}, options));
  module.register_buffer("total", torch::zeros({1}, options));
  module.define(R"(
    def forward(self, x):
        self.calls += 1
        self.level = self.level * 0.5 + x.detach().mean()
        self.total.add_(1)
        return torch.tanh(x * self.weight) * self.level / float(self.calls)
  )");
  return module;
}

}  // namespace

torch::jit::Module build_script(
    const StackSpec& stack, const BranchSpec& spec) {
  if (static_cast<int>(spec.kind) >= kFirstKinds) {
    return build_later_script(stack, spec);
  }
  if (spec.kind == Kind::kScriptBatchNorm) {
    return batch_norm_script(stack);
  }
  if (spec.kind == Kind::kScriptState) {
    return state_script(stack);
  }
  auto module = plain_script(stack);
  if (spec.kind == Kind::kScriptDropout) {
    module.define(
        "def forward(self, x):\n"
        "    return torch.dropout(torch.tanh(x * self.weight), " +
        std::to_string(spec.dropout) + ", self.training)\n");
  } else if (spec.kind == Kind::kScriptContext) {
    module.define(R"(
      def forward(self, x, c):
          return torch.tanh(x * self.weight * c)
    )");
  } else {
    module.define(R"(
      def forward(self, x):
          return torch.tanh(x * self.weight)
    )");
  }
  return module;
}

}  // namespace differential
}  // namespace test
}  // namespace torchrev
