#include "layer.h"

#include <torch/version.h>

#include <cmath>

namespace where_memory_goes {
namespace {

torch::nn::LayerNorm layer_norm(int64_t width) {
  return torch::nn::LayerNorm(torch::nn::LayerNormOptions({width}));
}

/// q, k, v, and the result are [N, heads, T, d_model / heads].
Tensor attend(const Tensor& q, const Tensor& k, const Tensor& v) {
#if TORCH_VERSION_MAJOR >= 2
  return at::scaled_dot_product_attention(q, k, v);
#else
  const auto scores = q.matmul(k.transpose(-2, -1)) / std::sqrt(q.size(-1));
  return scores.softmax(-1).matmul(v);
#endif
}

void enter_norm(Ledger* ledger, Group group, const Tensor& normalised) {
  if (ledger != nullptr) {
    ledger->add(
        group,
        "normalised input",
        normalised,
        "mean and 1/deviation of the norm");
  }
}

void enter(Ledger* ledger, Group group, const char* name) {
  if (ledger != nullptr) {
    ledger->add(group, name);
  }
}

/// @param result [N, T, d_model].  @param q [N, heads, T, d_model / heads].
void enter_attention(Ledger* ledger, const Tensor& result, const Tensor& q) {
  if (ledger == nullptr) {
    return;
  }
  ledger->add(Group::kAttention, "attention's output", result, "");
  // A fused kernel keeps a number for each query, others the weight of each
  // pair of positions: which one ran depends on the release.
  auto besides = ledger->rows().back().bytes;
  const auto pairs = q.numel() / q.size(-1) * q.size(-2);
  const bool fused = besides < pairs * static_cast<int64_t>(q.element_size());
  ledger->rename(
      fused ? "logsumexp of the attention" : "weights of the attention");
}

}  // namespace

AttentionImpl::AttentionImpl(int64_t d_model, int64_t heads)
    : norm(register_module("norm", layer_norm(d_model))),
      queries(register_module("queries", torch::nn::Linear(d_model, d_model))),
      keys(register_module("keys", torch::nn::Linear(d_model, d_model))),
      values(register_module("values", torch::nn::Linear(d_model, d_model))),
      projection(
          register_module("projection", torch::nn::Linear(d_model, d_model))),
      heads_(heads) {}

// [N, T, d_model] -> [N, heads, T, d_model / heads]
Tensor AttentionImpl::heads_of(const Tensor& x) const {
  const auto heads =
      x.unflatten(-1, {heads_, x.size(-1) / heads_}).transpose(1, 2);
#if TORCH_VERSION_MAJOR >= 2
  return heads;
#else
  return heads.contiguous();  // or matmul would keep a copy in its place
#endif
}

Tensor AttentionImpl::forward(const Tensor& x, Ledger* ledger) {
  const auto group = Group::kAttention;
  const auto normalised = norm(x);
  enter_norm(ledger, group, normalised);
  const auto q = heads_of(queries(normalised));
  enter(ledger, group, "q");
  const auto k = heads_of(keys(normalised));
  enter(ledger, group, "k");
  const auto v = heads_of(values(normalised));
  enter(ledger, group, "v");
  const auto y = attend(q, k, v).transpose(1, 2).flatten(/*start_dim=*/2);
  enter_attention(ledger, y, q);
  return projection(y);
}

FeedForwardImpl::FeedForwardImpl(int64_t d_model, int64_t d_ff)
    : norm(register_module("norm", layer_norm(d_model))),
      up(register_module("up", torch::nn::Linear(d_model, d_ff))),
      down(register_module("down", torch::nn::Linear(d_ff, d_model))) {}

Tensor FeedForwardImpl::forward(const Tensor& x, Ledger* ledger) {
  const auto group = Group::kFeedForward;
  const auto normalised = norm(x);
  enter_norm(ledger, group, normalised);
  const auto hidden = up(normalised);
  enter(ledger, group, "hidden before GELU");
  const auto activated = torch::gelu(hidden);
  enter(ledger, group, "hidden after GELU");
  return down(activated);
}

std::vector<Tensor> Layer::parameters() const {
  auto all = f->parameters();
  const auto more = g->parameters();
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

Layers make_layers(const Arguments& arguments, int64_t depth) {
  Layers layers;
  for (int64_t i = 0; i < depth; ++i) {
    layers.push_back(
        {Attention(arguments.d_model, arguments.heads),
         FeedForward(arguments.d_model, arguments.d_ff)});
    const auto shared = layers.front().parameters();
    const auto own = layers.back().parameters();
    for (std::size_t p = 0; p < own.size(); ++p) {
      if (i == 0) {
        own[p].mutable_grad() = torch::zeros_like(own[p]);
      } else {
        own[p].set_data(shared[p].detach());
        own[p].mutable_grad() = shared[p].grad().detach();
      }
    }
  }
  return layers;
}

// The value of a branch dies with the addition, before its sum is entered.
Tensor plain_layer(const Layer& layer, const Tensor& x, Ledger* ledger) {
  auto f = layer.f;
  auto g = layer.g;
  const auto y_a = x + f->forward(x, ledger);
  enter(ledger, Group::kStreams, "y_a = x + F(x)");
  const auto y = y_a + g->forward(y_a, ledger);
  enter(ledger, Group::kStreams, kNextX);
  return y;
}

}  // namespace where_memory_goes
