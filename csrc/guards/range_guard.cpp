#include "guards/range_guard.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/aminmax.h>
#include <ATen/ops/maximum.h>

#include <cmath>
#include <string>
#include <utility>

#include "tensors.h"

namespace torchrev {
namespace detail {

namespace {

struct Grid {
  int64_t fraction_bits;
  int64_t mantissa_bits;

  double limit() const {
    return std::ldexp(1.0, static_cast<int>(mantissa_bits - fraction_bits));
  }
};

// What would hold streams as large as `largest`, which is finite.
std::string way_out(const Grid& grid, double largest) {
  const auto bits =
      grid.mantissa_bits - 1 - static_cast<int64_t>(std::log2(largest));
  return c10::str(
      bits < 0 ? std::string("Normalise the branches, or use ")
               : c10::str("fraction_bits(", bits, ") would hold it, or "),
      "stream_dtype(torch::kDouble).");
}

void check_largest(const Grid& grid, const Place& place, double largest) {
  TORCHREV_CHECK(
      ValueError,
      !std::isfinite(largest) || largest < grid.limit(),
      place.entry,
      c10::str(
          "streams below ",
          grid.limit(),
          " in magnitude, where fraction_bits = ",
          grid.fraction_bits,
          " is exact"),
      place.step ? c10::str(largest, " after ", place)
                 : c10::str(largest, " in the input"),
      way_out(grid, largest));
}

}  // namespace

StreamCheck range_guard(
    const ReversibleOptions& options,
    const Tensor& x,
    std::shared_ptr<DeferredChecks> checks) {
  if (!options.fraction_bits()) {
    return nullptr;
  }
  const Grid grid{
      *options.fraction_bits(),
      mantissa_bits(options.stream_dtype().value_or(x.scalar_type()))};
  return [grid, checks = std::move(checks)](
             const Place& place, const Tensor& stream) {
    if (stream.numel() == 0) {
      return;
    }
    const at::NoGradGuard no_grad;
    const auto [low, high] = at::aminmax(stream);
    submit_check(
        at::maximum(low.neg(), high),
        [grid, place](double largest) { check_largest(grid, place, largest); },
        checks);
  };
}

}  // namespace detail
}  // namespace torchrev
