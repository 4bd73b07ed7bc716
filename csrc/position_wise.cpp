#include <ATen/core/grad_mode.h>
#include <torchrev/reversible.h>

#include <cmath>

#include "call.h"
#include "chunks.h"
#include "replay.h"

namespace torchrev {

namespace {

constexpr auto kEntry = "check_position_wise";

// Products of other sizes are summed in another order: some rounding, whose
// square root leaves room for cancellation. A mixture of positions differs by
// much more.
double tolerance_of(at::ScalarType dtype) {
  return std::sqrt(
      std::ldexp(1.0, -static_cast<int>(detail::mantissa_bits(dtype))));
}

double difference_of(const Tensor& whole, const Tensor& apart) {
  if (whole.numel() == 0) {
    return 0;
  }
  const auto largest = whole.abs().max().item<double>();
  const auto off = (whole - apart).abs().max().item<double>();
  return off == 0 ? 0 : off / largest;
}

}  // namespace

void check_position_wise(
    const Branch& branch,
    const Tensor& x,
    int64_t chunks,
    int64_t chunk_dim,
    at::TensorList context) {
  const auto options =
      ReversibleOptions().chunks_f(chunks).chunk_dim(chunk_dim);
  detail::check_options(kEntry, options);
  detail::check_streams(kEntry, "x", x, "x", x);
  detail::check_chunks(kEntry, options, x);
  const at::NoGradGuard no_grad;
  const detail::TrialScope scope;
  const detail::Unobserved unobserved(branch, x);
  const auto run = [&](const Tensor& part, std::size_t /*i*/) {
    return detail::checked_branch(
        {kEntry, 0}, part, part.sizes(), [&] { return branch(part, context); });
  };
  const auto found = difference_of(
      run(x, 0), detail::Chunks(chunks, chunk_dim, x).map(x, run));
  // Written so that NaN is too much.
  TORCH_CHECK_VALUE(
      found <= tolerance_of(x.scalar_type()),
      "torchrev::",
      kEntry,
      ": expected a branch that acts position by position along dimension ",
      chunk_dim,
      ", but got one whose result in ",
      chunks,
      " chunks differs by ",
      found,
      " of its largest value. Leave it whole.");
}

}  // namespace torchrev
