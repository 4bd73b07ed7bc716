#include <c10/core/ScalarType.h>

#include <string>

#include "check.h"
#include "compat.h"

namespace torchrev {
namespace detail {

void check_at_least(
    const char* entry, const char* name, int64_t least, int64_t value) {
  TORCH_CHECK_VALUE(
      value >= least,
      "torchrev::",
      entry,
      ": expected option `",
      name,
      "` to be at least ",
      least,
      ", but got ",
      value,
      ".");
}

namespace {

void check_coupling(const char* entry, const ReversibleOptions& options) {
  const auto& name = options.coupling();
  TORCH_CHECK_VALUE(
      name == "additive" || name == "momentum" || name == "affine",
      "torchrev::",
      entry,
      ": expected option `coupling` to be \"additive\", \"momentum\" or "
      "\"affine\", but got \"",
      name,
      "\". A coupling of your own is option `custom_coupling`.");
  TORCH_CHECK_VALUE(
      !options.custom_coupling() || name == "additive",
      "torchrev::",
      entry,
      ": expected one coupling, but got `coupling` = \"",
      name,
      "\" and a `custom_coupling`. Leave one of them out.");
  const auto momentum = options.momentum();
  TORCH_CHECK_VALUE(
      momentum >= 0 && momentum < 1,
      "torchrev::",
      entry,
      ": expected option `momentum` to be in [0, 1), but got ",
      momentum,
      ".");
  TORCH_CHECK_VALUE(
      momentum == ReversibleOptions().momentum() || name == "momentum",
      "torchrev::",
      entry,
      ": expected option `momentum` only with coupling = \"momentum\", but got "
      "momentum = ",
      momentum,
      " and \"",
      name,
      "\".");
}

void check_fraction_bits(const char* entry, const ReversibleOptions& options) {
  const auto bits = options.fraction_bits();
  if (!bits) {
    return;
  }
  check_at_least(entry, "fraction_bits", 0, *bits);
  TORCH_CHECK_VALUE(
      options.coupling() == "additive" && !options.custom_coupling(),
      "torchrev::",
      entry,
      ": expected the additive coupling, which alone is exact on a grid, but "
      "got fraction_bits = ",
      *bits,
      " with another one. Use stream_dtype(torch::kDouble) there.");
}

// A number that a bit pattern of `dtype` can hold is one of `wide`, too.
bool holds(at::ScalarType wide, at::ScalarType dtype) {
  return at::isFloatingType(wide) && c10::promoteTypes(wide, dtype) == wide;
}

}  // namespace

int64_t mantissa_bits(at::ScalarType dtype) {
  return dtype == at::kDouble  ? 52
         : dtype == at::kFloat ? 23
         : dtype == at::kHalf  ? 10
                               : 7;
}

void check_options(const char* entry, const ReversibleOptions& options) {
  check_at_least(entry, "save_every", 0, options.save_every());
  check_at_least(entry, "store_last", 0, options.store_last());
  check_at_least(entry, "chunks_f", 1, options.chunks_f());
  check_at_least(entry, "chunks_g", 1, options.chunks_g());
  TORCH_CHECK_VALUE(
      !options.memory_budget(),
      "torchrev::",
      entry,
      ": expected option `memory_budget` to be none, but got ",
      options.memory_budget().value_or(0),
      ". A budget is planned by torchrev::nn::ReversibleSequential; functions "
      "take `store_last`.");
  TORCH_CHECK_VALUE(
      !options.drift_tolerance() || *options.drift_tolerance() > 0,
      "torchrev::",
      entry,
      ": expected option `drift_tolerance` to be more than 0, or none, but "
      "got ",
      options.drift_tolerance().value_or(0),
      ".");
  check_coupling(entry, options);
  check_fraction_bits(entry, options);
}

void check_streams_options(
    const char* entry, const ReversibleOptions& options, const Tensor& x) {
  const auto dtype = options.stream_dtype().value_or(x.scalar_type());
  TORCH_CHECK_TYPE(
      holds(dtype, x.scalar_type()),
      "torchrev::",
      entry,
      ": expected option `stream_dtype` to be a floating point dtype that "
      "holds "
      "the input's ",
      x.scalar_type(),
      ", but got ",
      dtype,
      ".");
  const auto bits = options.fraction_bits().value_or(0);
  TORCH_CHECK_VALUE(
      !options.fraction_bits() || mantissa_bits(dtype) > 10,
      "torchrev::",
      entry,
      ": expected float32 or float64 streams with fraction_bits = ",
      bits,
      ", but got ",
      dtype,
      ". Set stream_dtype(torch::kFloat).");
  TORCH_CHECK_VALUE(
      bits < mantissa_bits(dtype),
      "torchrev::",
      entry,
      ": expected option `fraction_bits` to be below the ",
      mantissa_bits(dtype),
      " bits of the fraction of ",
      dtype,
      ", but got ",
      bits,
      ".");
}

void check_invertible(
    const char* entry, const ReversibleOptions& options, int64_t blocks) {
  const bool invertible =
      options.coupling() != "momentum" || options.momentum() > 0;
  TORCH_CHECK_VALUE(
      invertible || blocks == 0,
      "torchrev::",
      entry,
      ": expected a momentum above 0 where blocks are inverted, but got "
      "momentum = 0 and ",
      blocks,
      " such blocks. Keep the activations of all with store_last.");
}

}  // namespace detail
}  // namespace torchrev
