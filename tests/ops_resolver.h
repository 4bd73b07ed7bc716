#pragma once

#include <torch/csrc/jit/frontend/sugared_value.h>
#include <torch/script.h>

#include <memory>
#include <string>

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

}  // namespace test
}  // namespace torchrev
