#include "support/support.h"

#include <cmath>
#include <unordered_set>

namespace torchrev {
namespace test {

using namespace torch::nn;  // NOLINT: Sequential(LayerNorm(..), Linear(..))

AttentionImpl::AttentionImpl(int64_t width) : width(width) {
  reset();
}

void AttentionImpl::reset() {
  norm = register_module("norm", LayerNorm(LayerNormOptions({width})));
  projection = register_module(
      "projection", Linear(LinearOptions(width, 3 * width).bias(false)));
  output = register_module(
      "output", Linear(LinearOptions(width, width).bias(false)));
}

Tensor AttentionImpl::forward(const Tensor& x, const Tensor& mask) {
  const auto qkv = projection->forward(norm->forward(x)).chunk(3, -1);
  auto logits = qkv[0].matmul(qkv[1].transpose(-1, -2)) /
                std::sqrt(static_cast<double>(width));
  if (mask.defined()) {
    logits = logits + mask;
  }
  return output->forward(logits.softmax(-1).matmul(qkv[2]));
}

Sequential mlp(int64_t width, at::ScalarType dtype) {
  Sequential module(
      LayerNorm(LayerNormOptions({width})),
      Linear(width, 4 * width),
      GELU(),
      Linear(4 * width, width));
  module->to(dtype);
  return module;
}

Linear linear(int64_t width, at::ScalarType dtype) {
  Linear module(width, width);
  module->to(dtype);
  return module;
}

Attention attention(int64_t width, at::ScalarType dtype) {
  Attention module(width);
  module->to(dtype);
  return module;
}

Sequential conv(int64_t channels, at::ScalarType dtype) {
  Sequential module(
      Conv2d(Conv2dOptions(channels, channels, 3).padding(1)), Tanh());
  module->to(dtype);
  return module;
}

torch::jit::Module scripted(int64_t width, at::ScalarType dtype) {
  torch::jit::Module module("Scripted");
  const auto scale = 1 / std::sqrt(static_cast<double>(width));
  module.register_parameter(
      "weight",
      (torch::randn({width, width}, dtype) * scale).requires_grad_(),
      /*is_buffer=*/false);
  module.define(R"(
    def forward(self, x):
        return torch.tanh(torch.matmul(x, self.weight))
  )");
  return module;
}

Blocks mlp_blocks(int64_t depth, int64_t width, at::ScalarType dtype) {
  Blocks blocks;
  for (int64_t i = 0; i < depth; ++i) {
    blocks.push_back({mlp(width, dtype), mlp(width, dtype)});
  }
  return blocks;
}

Blocks conv_blocks(int64_t depth, int64_t channels) {
  Blocks blocks;
  for (int64_t i = 0; i < depth; ++i) {
    blocks.push_back({conv(channels), conv(channels)});
  }
  return blocks;
}

std::vector<Tensor> parameters_of(const Blocks& blocks) {
  std::vector<Tensor> parameters;
  std::unordered_set<const void*> seen;
  for (const BranchPair& block : blocks) {
    for (const Branch& branch : {block.f, block.g}) {
      for (const Tensor& parameter : branch.parameters()) {
        if (seen.insert(parameter.unsafeGetTensorImpl()).second) {
          parameters.push_back(parameter);
        }
      }
    }
  }
  return parameters;
}

}  // namespace test
}  // namespace torchrev
