#include "measure/position_wise.h"

#include <ATen/core/grad_mode.h>

#include <cmath>

#include "branch/checked_call.h"
#include "options.h"
#include "recompute/chunks.h"
#include "recompute/no_trace.h"
#include "recompute/remember_scope.h"

namespace torchrev {
namespace detail {

namespace {

constexpr auto kEntry = "check_position_wise";

// Products of other sizes are summed in another order: some rounding, whose
// square root leaves room for cancellation. A mixture of positions differs by
// much more.
double tolerance_of(at::ScalarType dtype) {
  return std::sqrt(std::ldexp(1.0, -static_cast<int>(mantissa_bits(dtype))));
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
  check_options(kEntry, options);
  check_streams(kEntry, "x", x, "x", x);
  check_chunks(kEntry, options, x);
  const at::NoGradGuard no_grad;
  const MeasureScope scope;
  const NoTrace no_trace(branch, x);
  const auto run = [&](const Tensor& part, std::size_t /*i*/) {
    return checked_call(
        {kEntry}, part, part.sizes(), [&] { return branch(part, context); });
  };
  const auto found =
      difference_of(run(x, 0), Chunks(chunks, chunk_dim, x).map(x, run));
  // Written so that NaN is too much.
  TORCHREV_CHECK(
      ValueError,
      found <= tolerance_of(x.scalar_type()),
      kEntry,
      c10::str(
          "a branch that acts position by position along dimension ",
          chunk_dim),
      c10::str(
          "one whose result in ",
          chunks,
          " chunks differs by ",
          found,
          " of its largest value"),
      "Leave it whole.");
}

}  // namespace detail
}  // namespace torchrev
