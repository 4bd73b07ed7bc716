#include "nn/reformer_options.h"

#include "check.h"
#include "options.h"

namespace torchrev {

namespace nn {

ReformerOptions::ReformerOptions(
    int64_t d_model, int64_t nhead, int64_t num_layers)
    : d_model_(d_model), nhead_(nhead), num_layers_(num_layers) {}

}  // namespace nn

namespace detail {

namespace {

void check_reversible(const char* entry, const ReversibleOptions& options) {
  TORCHREV_CHECK(
      ValueError,
      options.streams().kind == Streams::Kind::kDuplicate,
      entry,
      "option `reversible` to have duplicate() streams",
      "others",
      "Add .duplicate() to them.");
  TORCHREV_CHECK(
      ValueError,
      options.chunks_f() == 1,
      entry,
      "option `reversible` to have chunks_f = 1",
      c10::str(options.chunks_f()),
      "Attention mixes positions: only the feed-forward layers can be cut "
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
  TORCHREV_CHECK(
      ValueError,
      options.dropout() >= 0 && options.dropout() <= 1,
      entry,
      "option `dropout` to be in [0, 1]",
      c10::str(options.dropout()));
  TORCHREV_CHECK(
      ValueError,
      options.d_model() % options.nhead() == 0,
      entry,
      "option `d_model` to be a multiple of `nhead`",
      c10::str(options.d_model(), " and ", options.nhead()),
      "Heads share the width equally.");
  TORCHREV_CHECK(
      ValueError,
      options.attention() == "lsh" || options.attention() == "full",
      entry,
      "option `attention` to be \"lsh\" or \"full\"",
      c10::str("\"", options.attention(), "\""));
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
  TORCHREV_CHECK(
      TypeError,
      padding.scalar_type() == at::kBool,
      entry,
      "`padding` to be bool",
      c10::str(padding.scalar_type()),
      "True stands where there is padding.");
  TORCHREV_CHECK(
      ValueError,
      padding.sizes() == at::IntArrayRef({n, t}),
      entry,
      c10::str("`padding` to be [N, T] of `", name, "` ", sizes),
      c10::str(padding.sizes()));
}

void check_reformer_input(
    const char* entry,
    const nn::ReformerOptions& options,
    const Tensor& x,
    const Tensor& padding) {
  TORCHREV_CHECK(
      ValueError,
      x.dim() == 3 && x.size(2) == options.d_model(),
      entry,
      c10::str("`x` to be [N, T, ", options.d_model(), "]"),
      c10::str(x.sizes()));
  TORCHREV_CHECK(
      TypeError,
      x.is_floating_point(),
      entry,
      "`x` to be floating point",
      c10::str(x.scalar_type()),
      "Embed symbols first.");
  check_padding(entry, padding, "x", x.sizes(), x.size(0), x.size(1));
}

torch::nn::LayerNorm layer_norm(int64_t width) {
  return torch::nn::LayerNorm(torch::nn::LayerNormOptions({width}));
}

}  // namespace detail
}  // namespace torchrev
