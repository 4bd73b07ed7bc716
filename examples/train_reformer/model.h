#pragma once

#include <torch/nn.h>
#include <torchrev/nn/reformer.h>

#include "arguments.h"

namespace train_reformer {

/// Predicts the next byte at every position: embedding, a Reformer that looks
/// back, one linear layer.
class ReformerLMImpl : public torch::nn::Module {
 public:
  /// @param reversible whether blocks run through torchrev, or the same
  ///        couplings through plain autograd, which keeps all activations.
  ReformerLMImpl(const Shape& shape, bool reversible);

  /// @param bytes [N, T], int64, T at most `shape.context`.
  /// @return logits [N, T, 256].
  torch::Tensor forward(const torch::Tensor& bytes);

  torch::nn::Embedding embedding;
  torch::Tensor positions;  // [context, C]
  torchrev::nn::Reformer reformer;
  torch::nn::Linear head;

 private:
  torch::Tensor run_reformer(const torch::Tensor& x);

  bool reversible_;
};
TORCH_MODULE(ReformerLM);

}  // namespace train_reformer
