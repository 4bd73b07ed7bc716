#include "reformer_options.h"

namespace torchrev {

namespace nn {

ReformerOptions::ReformerOptions(
    int64_t d_model, int64_t nhead, int64_t num_layers)
    : d_model_(d_model), nhead_(nhead), num_layers_(num_layers) {}

}  // namespace nn

namespace detail {

namespace {

void check_at_least_one(const char* entry, const char* name, int64_t value) {
  TORCH_CHECK_VALUE(
      value >= 1,
      "torchrev::",
      entry,
      ": expected `",
      name,
      "` to be at least 1, but got ",
      value,
      ".");
}

void check_padding(const char* entry, const Tensor& x, const Tensor& padding) {
  TORCH_CHECK_TYPE(
      padding.scalar_type() == at::kBool,
      "torchrev::",
      entry,
      ": expected `padding` to be bool, but got ",
      padding.scalar_type(),
      ". True stands where there is padding.");
  TORCH_CHECK_VALUE(
      padding.sizes() == x.sizes().slice(0, 2),
      "torchrev::",
      entry,
      ": expected `padding` to be [N, T] of `x` ",
      x.sizes(),
      ", but got ",
      padding.sizes(),
      ".");
}

}  // namespace

void check_reformer(const char* entry, const nn::ReformerOptions& options) {
  check_at_least_one(entry, "d_model", options.d_model());
  check_at_least_one(entry, "nhead", options.nhead());
  check_at_least_one(entry, "num_layers", options.num_layers());
  check_at_least_one(entry, "dim_feedforward", options.dim_feedforward());
  check_at_least_one(entry, "chunk_length", options.chunk_length());
  check_at_least_one(entry, "num_hashes", options.num_hashes());
  TORCH_CHECK_VALUE(
      options.d_model() % options.nhead() == 0,
      "torchrev::",
      entry,
      ": expected `d_model` to be a multiple of `nhead`, but got ",
      options.d_model(),
      " and ",
      options.nhead(),
      ". Heads share the width equally.");
  TORCH_CHECK_VALUE(
      options.attention() == "lsh" || options.attention() == "full",
      "torchrev::",
      entry,
      ": expected `attention` to be \"lsh\" or \"full\", but got \"",
      options.attention(),
      "\".");
  TORCH_CHECK_VALUE(
      options.reversible().streams().kind == Streams::Kind::kDuplicate,
      "torchrev::",
      entry,
      ": expected `reversible` to have duplicate() streams, but got others. "
      "Add .duplicate() to them.");
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
  if (padding.defined()) {
    check_padding(entry, x, padding);
  }
}

torch::nn::LayerNorm layer_norm(int64_t width) {
  return torch::nn::LayerNorm(torch::nn::LayerNormOptions({width}));
}

}  // namespace detail
}  // namespace torchrev
