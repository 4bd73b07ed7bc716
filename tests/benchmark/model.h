#pragma once

#include <torch/nn.h>
#include <torchrev/branch.h>

#include <vector>

namespace torchrev_benchmark {

using torch::Tensor;
using Blocks = std::vector<torchrev::BranchPair>;

/// F: norm, causal attention of some heads, projection. [N, T, C] -> [N, T, C].
class CausalAttentionImpl : public torch::nn::Module {
 public:
  /// @param norm Of `width` features.  @param heads Each of width / 8.
  CausalAttentionImpl(torch::nn::LayerNorm norm, int64_t width, int64_t heads);
  Tensor forward(const Tensor& x);

  torch::nn::LayerNorm norm;
  torch::nn::Linear queries_keys_values;
  torch::nn::Linear projection;

 private:
  int64_t heads_;
};
TORCH_MODULE(CausalAttention);

/// Blocks of a transformer: F is CausalAttention, G norm and two layers with
/// GELU and four times the width between them.
///
/// @param width C, a multiple of 8.
/// @param head_groups Attention is a sum over heads, so it can be cut into this
///     many blocks of 8 / `head_groups` heads each, the last of which has the
///     G.
Blocks transformer_blocks(
    int64_t depth, int64_t width, int64_t head_groups = 1);

/// Blocks that compute next to nothing, so that what a block costs beyond its
/// branches shows: F is a layer and tanh, G norm and a layer.
Blocks tiny_blocks(int64_t depth, int64_t width);

/// The parameters of all blocks, in their order.
std::vector<Tensor> parameters_of(const Blocks& blocks);

}  // namespace torchrev_benchmark
