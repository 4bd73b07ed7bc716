#pragma once

#include <torch/csrc/jit/frontend/sugared_value.h>
#include <torch/script.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace torchrev {
namespace test {

// What `torch.ops.torchrev` is in Python: LibTorch's C++ resolver knows `torch`
// alone.
struct OpsResolver : torch::jit::NativeResolver {
  std::shared_ptr<torch::jit::SugaredValue> resolveValue(
      const std::string& name,
      torch::jit::GraphFunction& method,
      const torch::jit::SourceRange& location) override {
    if (name == "torchrev") {
      return std::make_shared<torch::jit::BuiltinModule>("torchrev");
    }
    return NativeResolver::resolveValue(name, method, location);
  }
};

/// {f, g} of each block, as Python's ModuleList of modules with `f` and `g`.
inline torch::jit::Module module_list(
    const std::vector<std::pair<torch::jit::Module, torch::jit::Module>>&
        blocks) {
  torch::jit::Module list("ModuleList");
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    torch::jit::Module block("Block");
    block.register_module("f", blocks[i].first);
    block.register_module("g", blocks[i].second);
    list.register_module(std::to_string(i), block);
  }
  return list;
}

}  // namespace test
}  // namespace torchrev
