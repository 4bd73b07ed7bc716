#pragma once

#include <torch/nn.h>
#include <torchrev/nn/reversible.h>

#include "arguments.h"

namespace train_reformer {

/// F: norm, causal multi-head attention, projection. [N, T, C] -> [N, T, C].
class CausalAttentionImpl : public torch::nn::Module {
 public:
  CausalAttentionImpl(int64_t width, int64_t heads);
  torch::Tensor forward(const torch::Tensor& x);

  torch::nn::LayerNorm norm;
  torch::nn::Linear queries_keys_values;
  torch::nn::Linear projection;

 private:
  int64_t heads_;
};
TORCH_MODULE(CausalAttention);

/// G: norm, then two layers with four times the width between them.
torch::nn::Sequential feed_forward(int64_t width);

/// Predicts the next byte at every position: embedding, a reversible stack with
/// the same input in both streams, norm over their mean, one linear layer.
///
/// Reference: Kitaev et al., "Reformer: The Efficient Transformer", 2020.
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
  torchrev::nn::ReversibleSequential stack;
  torch::nn::LayerNorm norm;
  torch::nn::Linear head;

 private:
  torch::Tensor run_stack(const torch::Tensor& x);

  bool reversible_;
};
TORCH_MODULE(ReformerLM);

}  // namespace train_reformer
