#include "nn/reformer_options.h"

#include "check.h"

namespace torchrev {

namespace nn {

ReformerOptions::ReformerOptions(
    int64_t d_model, int64_t nhead, int64_t num_layers)
    : d_model_(d_model), nhead_(nhead), num_layers_(num_layers) {}

}  // namespace nn

namespace detail {

namespace {

void check_reversible(const char* entry, const ReversibleOptions& options) {
  TORCH_CHECK_VALUE(
      options.streams().kind == Streams::Kind::kDuplicate,
      "torchrev::",
      entry,
      ": expected option `reversible` to have duplicate() streams, but got "
      "others. Add .duplicate() to them.");
  TORCH_CHECK_VALUE(
      options.chunks_f() == 1,
      "torchrev::",
      entry,
      ": expected option `reversible` to have chunks_f = 1, but got ",
      options.chunks_f(),
      ". Attention mixes positions: only the feed-forward layers can be cut "
      "(chunks_g).");
}

}  // namespace

void check_reformer(const char* entry, const nn::ReformerOptions& options) {
  check_at_least(entry, "d_model", 1, options.d_model());
  check_at_least(entry, "nhead", 1, options.nhead());
  check_at_least(entry, "num_layers", 1, options.num_layers());
  check_at_least(entry, "dim_feedforward", 1, options.dim_feedforward());
  check_at_least(entry, "chunk_length", 1, options.chunk_length());
  check_at_least(entry, "num_hashes", 1, options.num_hashes());
  TORCH_CHECK_VALUE(
      options.dropout() >= 0 && options.dropout() <= 1,
      "torchrev::",
      entry,
      ": expected option `dropout` to be in [0, 1], but got ",
      options.dropout(),
      ".");
  TORCH_CHECK_VALUE(
      options.d_model() % options.nhead() == 0,
      "torchrev::",
      entry,
      ": expected option `d_model` to be a multiple of `nhead`, but got ",
      options.d_model(),
      " and ",
      options.nhead(),
      ". Heads share the width equally.");
  TORCH_CHECK_VALUE(
      options.attention() == "lsh" || options.attention() == "full",
      "torchrev::",
      entry,
      ": expected option `attention` to be \"lsh\" or \"full\", but got \"",
      options.attention(),
      "\".");
  check_reversible(entry, options.reversible());
}

void check_padding(
    const char* entry,
    const Tensor& padding,
    const char* name,
    at::IntArrayRef sizes,
    int64_t n,
    int64_t t) {
  if (!padding.defined()) {
    return;
  }
  TORCH_CHECK_TYPE(
      padding.scalar_type() == at::kBool,
      "torchrev::",
      entry,
      ": expected `padding` to be bool, but got ",
      padding.scalar_type(),
      ". True stands where there is padding.");
  TORCH_CHECK_VALUE(
      padding.sizes() == at::IntArrayRef({n, t}),
      "torchrev::",
      entry,
      ": expected `padding` to be [N, T] of `",
      name,
      "` ",
      sizes,
      ", but got ",
      padding.sizes(),
      ".");
}

void check_reformer_input(
    const char* entry,
    const nn::ReformerOptions& options,
    const Tensor& x,
    const Tensor& padding) {
  TORCH_CHECK_VALUE(
      x.dim() == 3 && x.size(2) == options.d_model(),
      "torchrev::",
      entry,
      ": expected `x` to be [N, T, ",
      options.d_model(),
      "], but got ",
      x.sizes(),
      ".");
  TORCH_CHECK_TYPE(
      x.is_floating_point(),
      "torchrev::",
      entry,
      ": expected `x` to be floating point, but got ",
      x.scalar_type(),
      ". Embed symbols first.");
  check_padding(entry, padding, "x", x.sizes(), x.size(0), x.size(1));
}

torch::nn::LayerNorm layer_norm(int64_t width) {
  return torch::nn::LayerNorm(torch::nn::LayerNormOptions({width}));
}

}  // namespace detail
}  // namespace torchrev
