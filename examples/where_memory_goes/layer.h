#pragma once

#include <torch/torch.h>

#include <vector>

#include "arguments.h"
#include "ledger.h"

namespace where_memory_goes {

/// Pre-norm attention, F. Each operation whose result autograd keeps is entered
/// into `ledger`, if there is one.
class AttentionImpl : public torch::nn::Module {
 public:
  AttentionImpl(int64_t d_model, int64_t heads);

  /// @param x [N, T, d_model].
  /// @return  [N, T, d_model].
  Tensor forward(const Tensor& x, Ledger* ledger = nullptr);

  torch::nn::LayerNorm norm;
  torch::nn::Linear queries, keys, values, projection;

 private:
  Tensor heads_of(const Tensor& x) const;

  int64_t heads_;
};
TORCH_MODULE(Attention);

/// Pre-norm feed-forward layer, G; see AttentionImpl.
class FeedForwardImpl : public torch::nn::Module {
 public:
  FeedForwardImpl(int64_t d_model, int64_t d_ff);

  /// @param x [N, T, d_model].
  /// @return  [N, T, d_model].
  Tensor forward(const Tensor& x, Ledger* ledger = nullptr);

  torch::nn::LayerNorm norm;
  torch::nn::Linear up, down;
};
TORCH_MODULE(FeedForward);

struct Layer {
  Attention f;
  FeedForward g;

  std::vector<Tensor> parameters() const;
};

using Layers = std::vector<Layer>;

/// Layers that share the memory of one layer's parameters, and of its
/// gradients, which add up there: so deep a stack fits anywhere. Autograd sees
/// parameters like any other, and keeps no other activations.
Layers make_layers(const Arguments& arguments, int64_t depth);

/// y_a = x + F(x),   y = y_a + G(y_a).
Tensor plain_layer(
    const Layer& layer, const Tensor& x, Ledger* ledger = nullptr);

}  // namespace where_memory_goes
