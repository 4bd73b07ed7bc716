#include "recompute/verification.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>

#include <cmath>

#include "tensors.h"

namespace torchrev {
namespace detail {

namespace {

thread_local bool without_verification = false;

}  // namespace

WithoutVerification::WithoutVerification() : outer_(without_verification) {
  without_verification = true;
}

WithoutVerification::~WithoutVerification() {
  without_verification = outer_;
}

bool WithoutVerification::is_active() {
  return without_verification;
}

bool gave_the_same(const Tensor& value, const Tensor& again, bool rounds) {
  const at::NoGradGuard no_grad;
  if (!again.defined() || value.sizes() != again.sizes() ||
      value.scalar_type() != again.scalar_type() ||
      value.device() != again.device()) {
    return false;
  }
  if (value.is_meta()) {
    return true;
  }
  if (value.device().is_cpu() && !rounds) {
    return at::equal(value, again) ||
           // Not a number, where both are.
           (at::equal(value.isnan(), again.isnan()) &&
            at::equal(value.nan_to_num(), again.nan_to_num()));
  }
  const auto rounding = std::exp2(-0.5 * mantissa_bits(value.scalar_type()));
  return value.numel() == 0 || value.allclose(
                                   again,
                                   rounding,
                                   rounding * value.abs().max().item<double>(),
                                   /*equal_nan=*/true);
}

void check_gave_the_same(const Place& place, bool same) {
  TORCHREV_CHECK(
      ValueError,
      same,
      place.entry,
      c10::str(place, " to give the same when it runs again, as backward does"),
      "another result for the same input (seen at its first call)",
      "It depends on something that cannot be put back: a member that forward "
      "changes (make it a registered buffer), a generator of its own (draw "
      "from the default one), a clock, what a function captures (hand it over "
      "as context), numbers that another thread draws meanwhile. "
      "verify_first_call(false) turns this check off.");
}

}  // namespace detail
}  // namespace torchrev
