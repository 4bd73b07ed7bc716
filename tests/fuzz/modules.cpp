#include "fuzz/modules.h"

#include <torch/torch.h>

#include "ops/ops_resolver.h"

namespace torchrev {
namespace fuzz {

using torch::jit::Module;

namespace {

constexpr int64_t kWidth = 4;

Module branch(const std::string& arguments, const std::string& body) {
  Module module("Branch");
  module.register_parameter(
      "w",
      torch::linspace(-1, 1, kWidth).requires_grad_(),
      /*is_buffer=*/false);
  module.register_buffer("b", torch::zeros({kWidth}));
  module.define("def forward(self" + arguments + "):\n    " + body + "\n");
  return module;
}

}  // namespace

std::vector<Module> make_branches() {
  std::vector<Module> all;
  for (const auto* body :
       {"return torch.tanh(x * self.w)",
        "return torch.dropout(x * self.w, 0.5, True)",
        "return x"}) {
    all.push_back(branch(", x", body));
  }
  all.push_back(branch(
      ", x, mask: Optional[Tensor] = None",
      "return x if mask is None else x * mask"));
  all.push_back(branch(", x, mask", "return x * mask"));
  all.push_back(branch(
      ", x: Optional[Tensor]",
      "assert x is not None\n    return torch.sin(x)"));
  all.push_back(branch(", x, scale: float", "return x * scale"));
  all.push_back(branch(", x, list: List[Tensor]", "return x * list[0]"));
  all.push_back(branch("", "return self.w"));
  all.push_back(branch(", n: int", "return self.w * n"));
  for (const auto* body :
       {"return (x, x)",
        "return 1",
        "return None",
        "return x.add_(1)",
        "return x.new_zeros([])",
        "return x.long()",
        "return x.double()",
        "return x.unsqueeze(0)",
        "return x.view([5, 7])",
        "return torch.mm(x, x)",
        "assert x.size(0) == 17\n    return x",
        "self.b = self.b + 1\n    return x * self.b",
        "self.b.resize_([1000])\n    return x",
        "return x.detach().requires_grad_() * self.w",
        "return x[0]",
        "return torch.zeros([0])"}) {
    all.push_back(branch(", x", body));
  }
  all.emplace_back("NoForward");
  return all;
}

std::vector<Module> make_odd_lists(const Module& good) {
  Module no_g("Block"), tensors("Block"), gap("ModuleList"), bare("ModuleList");
  no_g.register_module("f", good);
  tensors.register_attribute("f", c10::TensorType::get(), torch::ones({2}));
  tensors.register_attribute("g", c10::TensorType::get(), torch::ones({2}));
  gap.register_module("1", test::module_list({{good, good}}));
  bare.register_module("0", no_g);
  Module other("ModuleList");
  other.register_module("0", tensors);
  Module named("Named");
  named.register_module("blocks", good);
  return {Module("ModuleList"), gap, bare, other, named, good};
}

}  // namespace fuzz
}  // namespace torchrev
