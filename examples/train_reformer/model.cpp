#include "model.h"

#include <torchrev/coupling.h>

#include <tuple>
#include <vector>

namespace train_reformer {
namespace {

using torch::Tensor;

constexpr int64_t kBytes = 256;
constexpr double kEmbeddingScale = 0.1;

torchrev::nn::ReformerOptions reformer_options(const Shape& shape) {
  return torchrev::nn::ReformerOptions(shape.width, shape.heads, shape.depth)
      .dim_feedforward(4 * shape.width)
      .dropout(0.0)
      .causal(true)
      .attention(shape.attention)
      .chunk_length(shape.chunk_length)
      .num_hashes(shape.hashes);
}

}  // namespace

ReformerLMImpl::ReformerLMImpl(const Shape& shape, bool reversible)
    : embedding(register_module(
          "embedding", torch::nn::Embedding(kBytes, shape.width))),
      positions(register_parameter(
          "positions",
          torch::randn({shape.context, shape.width}) * kEmbeddingScale)),
      reformer(register_module(
          "reformer", torchrev::nn::Reformer(reformer_options(shape)))),
      head(register_module("head", torch::nn::Linear(shape.width, kBytes))),
      reversible_(reversible) {
  torch::NoGradGuard no_grad;
  embedding->weight.mul_(kEmbeddingScale);
}

Tensor ReformerLMImpl::forward(const Tensor& bytes) {
  const auto x = embedding(bytes) + positions.slice(0, 0, bytes.size(1));
  return head(run_reformer(x));
}

Tensor ReformerLMImpl::run_reformer(const Tensor& x) {
  if (reversible_) {
    return reformer(x);
  }
  const auto y = torchrev::additive_coupling_sequence(
      reformer->stack->branches, x, x, std::vector<Tensor>{Tensor()});
  return reformer->norm((std::get<0>(y) + std::get<1>(y)) / 2);
}

}  // namespace train_reformer
