#include "model.h"

#include <torch/version.h>
#include <torchrev/coupling.h>

#include <cmath>
#include <tuple>

namespace train_reformer {
namespace {

using torch::Tensor;

constexpr int64_t kBytes = 256;
constexpr double kEmbeddingScale = 0.1;

torch::nn::LayerNorm layer_norm(int64_t width) {
  return torch::nn::LayerNorm(torch::nn::LayerNormOptions({width}));
}

/// Each position attends to itself and those before it; q, k, v, and the
/// result are [N, heads, T, C / heads].
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

}  // namespace

CausalAttentionImpl::CausalAttentionImpl(int64_t width, int64_t heads)
    : norm(register_module("norm", layer_norm(width))),
      queries_keys_values(register_module(
          "queries_keys_values", torch::nn::Linear(width, 3 * width))),
      projection(
          register_module("projection", torch::nn::Linear(width, width))),
      heads_(heads) {}

Tensor CausalAttentionImpl::forward(const Tensor& x) {
  // [N, T, 3 C] -> [3, N, heads, T, C / heads]
  const auto parts = queries_keys_values(norm(x))
                         .view({x.size(0), x.size(1), 3, heads_, -1})
                         .permute({2, 0, 3, 1, 4});
  const auto y = causal_attention(parts[0], parts[1], parts[2]);
  return projection(y.transpose(1, 2).reshape(x.sizes()));
}

torch::nn::Sequential feed_forward(int64_t width) {
  return torch::nn::Sequential(
      layer_norm(width),
      torch::nn::Linear(width, 4 * width),
      torch::nn::GELU(),
      torch::nn::Linear(4 * width, width));
}

ReformerLMImpl::ReformerLMImpl(const Shape& shape, bool reversible)
    : embedding(register_module(
          "embedding", torch::nn::Embedding(kBytes, shape.width))),
      positions(register_parameter(
          "positions",
          torch::randn({shape.context, shape.width}) * kEmbeddingScale)),
      stack(register_module(
          "stack",
          torchrev::nn::ReversibleSequential(
              torchrev::ReversibleOptions().duplicate()))),
      norm(register_module("norm", layer_norm(shape.width))),
      head(register_module("head", torch::nn::Linear(shape.width, kBytes))),
      reversible_(reversible) {
  for (int64_t block = 0; block < shape.depth; ++block) {
    stack->push_back(
        CausalAttention(shape.width, shape.heads), feed_forward(shape.width));
  }
  torch::NoGradGuard no_grad;
  embedding->weight.mul_(kEmbeddingScale);
}

Tensor ReformerLMImpl::forward(const Tensor& bytes) {
  const auto x = embedding(bytes) + positions.slice(0, 0, bytes.size(1));
  return head(norm(run_stack(x)));
}

Tensor ReformerLMImpl::run_stack(const Tensor& x) {
  if (reversible_) {
    return stack->forward(x);
  }
  const auto y = torchrev::additive_coupling_sequence(stack->branches, x, x);
  return (std::get<0>(y) + std::get<1>(y)) / 2;
}

}  // namespace train_reformer
