#include "model.h"

#include <torch/version.h>

#include <cmath>

namespace torchrev_benchmark {
namespace {

constexpr int64_t kHeads = 8;

torch::nn::LayerNorm layer_norm(int64_t width) {
  return torch::nn::LayerNorm(torch::nn::LayerNormOptions({width}));
}

// Each position attends to itself and those before it; q, k, v, and the result
// are [N, heads, T, C / heads].
Tensor causal_attention(const Tensor& q, const Tensor& k, const Tensor& v) {
#if TORCH_VERSION_MAJOR >= 2
  return at::scaled_dot_product_attention(
      q, k, v, /*attn_mask=*/{}, /*dropout_p=*/0.0, /*is_causal=*/true);
#else
  const auto scores = q.matmul(k.transpose(-2, -1)) / std::sqrt(q.size(-1));
  const auto future =
      torch::ones({q.size(-2), q.size(-2)}, torch::kBool).triu(/*diagonal=*/1);
  return scores.masked_fill(future, -INFINITY).softmax(-1).matmul(v);
#endif
}

torch::nn::Sequential feed_forward(int64_t width) {
  return torch::nn::Sequential(
      layer_norm(width),
      torch::nn::Linear(width, 4 * width),
      torch::nn::GELU(),
      torch::nn::Linear(4 * width, width));
}

}  // namespace

CausalAttentionImpl::CausalAttentionImpl(
    torch::nn::LayerNorm norm, int64_t width, int64_t heads)
    : norm(register_module("norm", std::move(norm))),
      queries_keys_values(register_module(
          "queries_keys_values",
          torch::nn::Linear(width, 3 * heads * (width / kHeads)))),
      projection(register_module(
          "projection", torch::nn::Linear(heads * (width / kHeads), width))),
      heads_(heads) {}

Tensor CausalAttentionImpl::forward(const Tensor& x) {
  // [N, T, 3 D] -> [3, N, heads, T, C / 8]. Unlike three selections, unbind is
  // differentiated in one piece.
  const auto parts = queries_keys_values(norm(x))
                         .view({x.size(0), x.size(1), 3, heads_, -1})
                         .permute({2, 0, 3, 1, 4})
                         .unbind(0);
  const auto y = causal_attention(parts[0], parts[1], parts[2]);
  return projection(y.transpose(1, 2).flatten(/*start_dim=*/2));
}

Blocks transformer_blocks(int64_t depth, int64_t width, int64_t head_groups) {
  const auto zero = torchrev::Branch::function(
      [](const Tensor& x, at::TensorList, at::TensorList) {
        return torch::zeros_like(x);
      });
  Blocks blocks;
  for (int64_t i = 0; i < depth; ++i) {
    const auto norm = layer_norm(width);
    for (int64_t group = 1; group <= head_groups; ++group) {
      const CausalAttention f(norm, width, kHeads / head_groups);
      if (group < head_groups) {
        blocks.push_back({f, zero});
      } else {
        blocks.push_back({f, feed_forward(width)});
      }
    }
  }
  return blocks;
}

Blocks tiny_blocks(int64_t depth, int64_t width) {
  Blocks blocks;
  for (int64_t i = 0; i < depth; ++i) {
    const torch::nn::Sequential f(
        torch::nn::Linear(width, width), torch::nn::Tanh());
    const torch::nn::Sequential g(
        layer_norm(width), torch::nn::Linear(width, width));
    blocks.push_back({f, g});
  }
  return blocks;
}

std::vector<Tensor> parameters_of(const Blocks& blocks) {
  std::vector<Tensor> parameters;
  for (const auto& block : blocks) {
    for (const auto* branch : {&block.f, &block.g}) {
      const auto more = branch->parameters();
      parameters.insert(parameters.end(), more.begin(), more.end());
    }
  }
  return parameters;
}

}  // namespace torchrev_benchmark
