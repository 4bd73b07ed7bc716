#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <torchrev/nn/lsh_attention.h>
#include <torchrev/nn/reformer.h>
#include <torchrev/remember.h>

#include <cmath>
#include <limits>

#include "compat.h"
#include "nn/reformer_options.h"

#if TORCHREV_TORCH_AT_LEAST(2, 0)
#include <ATen/ops/scaled_dot_product_attention.h>
#endif

namespace torchrev {
namespace nn {

namespace {

using detail::check_reformer;
using detail::check_reformer_input;
using detail::layer_norm;

const char* name_of(bool value) {
  return value ? "true" : "false";
}

// [N, T, parts H D] -> [parts, N, H, T, D].
Tensor split_heads(const Tensor& x, int64_t parts, int64_t heads) {
  return x.unflatten(2, {parts, heads, -1}).permute({2, 0, 3, 1, 4});
}

// [N, H, T, D] -> [N, T, H D].
Tensor merge_heads(const Tensor& y) {
  return y.transpose(1, 2).flatten(2);
}

// What is added to scores. Finite, so that a query all of whose keys are taken
// out gets a mean and no NaN; twice that is finite, too, in every dtype.
double never(at::ScalarType dtype) {
  return dtype == at::kHalf ? -3e4 : -1e30;
}

// What is added to the scores of keys that are padding, or that stand behind
// their query in a decoder. [N, 1, 1, T], or [N, 1, T, T].
Tensor bias_of(const Tensor& q, const Tensor& padding, bool causal) {
  const auto length = q.size(2);
  const auto none = never(q.scalar_type());
  auto bias = at::zeros({q.size(0), 1, 1, length}, q.options());
  if (padding.defined()) {
    bias.masked_fill_(padding.unsqueeze(1).unsqueeze(1), none);
  }
  // Twice as much, for a query whose keys are all padding.
  return causal
             ? bias + at::full({length, length}, 2 * none, q.options()).triu(1)
             : bias;
}

// q, k, v -> [N, H, T, D]
Tensor attend(
    const Tensor& q,
    const Tensor& k,
    const Tensor& v,
    const Tensor& padding,
    bool causal) {
#if TORCHREV_TORCH_AT_LEAST(2, 0)
  if (!padding.defined()) {  // needs no bias of T^2
    return at::scaled_dot_product_attention(
        q, k, v, /*attn_mask=*/{}, /*dropout_p=*/0.0, causal);
  }
  return at::scaled_dot_product_attention(q, k, v, bias_of(q, padding, causal));
#else
  const auto scores =
      q.matmul(k.transpose(-2, -1)) / std::sqrt(double(q.size(-1)));
  return (scores + bias_of(q, padding, causal)).softmax(-1).matmul(v);
#endif
}

}  // namespace

FullAttentionImpl::FullAttentionImpl(const ReformerOptions& options)
    : options(options) {
  check_reformer("nn::FullAttention", options);
  FullAttentionImpl::reset();
}

void FullAttentionImpl::reset() {
  const auto width = options.d_model();
  norm = register_module("norm", layer_norm(width));
  queries_keys_values = register_module(
      "queries_keys_values", torch::nn::Linear(width, 3 * width));
  projection = register_module("projection", torch::nn::Linear(width, width));
  dropout = register_module("dropout", torch::nn::Dropout(options.dropout()));
}

void FullAttentionImpl::pretty_print(std::ostream& stream) const {
  stream << "torchrev::nn::FullAttention(d_model=" << options.d_model()
         << ", nhead=" << options.nhead()
         << ", causal=" << name_of(options.causal()) << ")";
}

Tensor FullAttentionImpl::forward(const Tensor& x, const Tensor& padding) {
  check_reformer_input("nn::FullAttention", options, x, padding);
  const auto parts =
      split_heads(queries_keys_values(norm(x)), 3, options.nhead());
  const auto y =
      attend(parts[0], parts[1], parts[2], padding, options.causal());
  return dropout(projection(merge_heads(y)));
}

LSHAttentionImpl::LSHAttentionImpl(const ReformerOptions& options)
    : options(options) {
  check_reformer("nn::LSHAttention", options);
  LSHAttentionImpl::reset();
}

void LSHAttentionImpl::reset() {
  const auto width = options.d_model();
  norm = register_module("norm", layer_norm(width));
  queries_values =
      register_module("queries_values", torch::nn::Linear(width, 2 * width));
  projection = register_module("projection", torch::nn::Linear(width, width));
  dropout = register_module("dropout", torch::nn::Dropout(options.dropout()));
}

void LSHAttentionImpl::pretty_print(std::ostream& stream) const {
  stream << "torchrev::nn::LSHAttention(d_model=" << options.d_model()
         << ", nhead=" << options.nhead()
         << ", causal=" << name_of(options.causal())
         << ", chunk_length=" << options.chunk_length()
         << ", num_hashes=" << options.num_hashes() << ")";
}

// In a narrow dtype, since it is kept.
Tensor LSHAttentionImpl::buckets_of(const Tensor& qk) const {
  const auto length = qk.size(2);
  const auto chunks =
      (length + options.chunk_length() - 1) / options.chunk_length();
  if (chunks <= 1) {
    return at::zeros(
        {qk.size(0), qk.size(1), 1, length}, qk.options().dtype(at::kShort));
  }
  const auto rotations =
      at::randn({options.num_hashes(), qk.size(-1), chunks}, qk.options());
  const bool fits = 2 * chunks - 1 <= std::numeric_limits<int16_t>::max();
  return functional::lsh_buckets(qk, rotations)
      .to(fits ? at::kShort : at::kInt);
}

Tensor LSHAttentionImpl::forward(const Tensor& x, const Tensor& padding) {
  check_reformer_input("nn::LSHAttention", options, x, padding);
  const auto parts = split_heads(queries_values(norm(x)), 2, options.nhead());
  const auto buckets = remember("LSH buckets", buckets_of(parts[0].detach()));
  const auto y = functional::lsh_attention(
      parts[0],
      parts[1],
      buckets,
      options.chunk_length(),
      options.causal(),
      padding);
  return dropout(projection(merge_heads(y)));
}

}  // namespace nn
}  // namespace torchrev
