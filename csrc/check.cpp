#include "check.h"

#include <c10/core/ScalarType.h>
#include <fmt/format.h>

#include <string>

#include "compat.h"

namespace torchrev {
namespace detail {

namespace {

std::string none_or(const torch::optional<double>& value) {
  return value ? std::to_string(*value) : "none";
}

void check_floating_point(
    const char* entry, const char* name, const Tensor& x) {
  TORCH_CHECK_VALUE(
      x.defined(),
      "torchrev::",
      entry,
      ": expected `",
      name,
      "` to be a tensor, but got an undefined one.");
  TORCH_CHECK_TYPE(
      x.layout() == at::kStrided,
      "torchrev::",
      entry,
      ": expected `",
      name,
      "` to be a strided tensor, but got layout ",
      x.layout(),
      ". Convert it with to_dense().");
  TORCH_CHECK_TYPE(
      at::isFloatingType(x.scalar_type()),
      "torchrev::",
      entry,
      ": expected `",
      name,
      "` to be floating point, but got ",
      x.scalar_type(),
      ". Convert it with to(torch::kFloat).");
}

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

}  // namespace

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
  const auto require = [&](bool ok,
                           const char* name,
                           const char* only,
                           const std::string& value) {
    TORCHREV_CHECK_IMPLEMENTED(
        ok,
        "torchrev::",
        entry,
        ": expected option `",
        name,
        "` to be ",
        only,
        ", but got ",
        value,
        ". This version supports no other value.");
  };
  require(
      !options.stream_dtype(),
      "stream_dtype",
      "none",
      options.stream_dtype() ? c10::toString(*options.stream_dtype()) : "");
  require(
      !options.fraction_bits(),
      "fraction_bits",
      "none",
      std::to_string(options.fraction_bits().value_or(0)));
  require(
      !options.drift_tolerance(),
      "drift_tolerance",
      "none",
      none_or(options.drift_tolerance()));
  require(
      options.coupling() == "additive",
      "coupling",
      "\"additive\"",
      "\"" + options.coupling() + "\"");
  require(
      options.momentum() == 0.9,
      "momentum",
      "0.9",
      std::to_string(options.momentum()));
}

void check_blocks(const char* entry, std::size_t size) {
  TORCH_CHECK_VALUE(
      size > 0,
      "torchrev::",
      entry,
      ": expected at least one block, but got an empty list.");
}

void check_streams(
    const char* entry,
    const char* name1,
    const Tensor& x1,
    const char* name2,
    const Tensor& x2) {
  check_floating_point(entry, name1, x1);
  check_floating_point(entry, name2, x2);
  TORCH_CHECK_VALUE(
      x1.sizes() == x2.sizes(),
      "torchrev::",
      entry,
      ": expected `",
      name1,
      "` and `",
      name2,
      "` to have one shape, but got ",
      x1.sizes(),
      " and ",
      x2.sizes(),
      ".");
  TORCH_CHECK_TYPE(
      x1.scalar_type() == x2.scalar_type(),
      "torchrev::",
      entry,
      ": expected `",
      name1,
      "` and `",
      name2,
      "` to have one dtype, but got ",
      x1.scalar_type(),
      " and ",
      x2.scalar_type(),
      ".");
  TORCH_CHECK_TYPE(
      x1.device() == x2.device(),
      "torchrev::",
      entry,
      ": expected `",
      name1,
      "` and `",
      name2,
      "` to be on one device, but got ",
      x1.device(),
      " and ",
      x2.device(),
      ".");
}

void check_residual(
    const char* entry,
    const char* name,
    const Tensor& x,
    const Streams& streams) {
  check_floating_point(entry, name, x);
  if (streams.kind == Streams::Kind::kDuplicate) {
    return;
  }
  const auto dim = streams.dim;
  TORCH_CHECK_INDEX(
      dim >= -x.dim() && dim < x.dim(),
      "torchrev::",
      entry,
      ": expected `split(dim)` to name a dimension of `",
      name,
      "`, but got ",
      dim,
      " (shape ",
      x.sizes(),
      ").");
  TORCH_CHECK_VALUE(
      x.size(dim) % 2 == 0,
      "torchrev::",
      entry,
      ": expected `",
      name,
      ".size(",
      dim,
      ")` to be even, but got ",
      x.size(dim),
      " (shape ",
      x.sizes(),
      "). Pad it, or use duplicate() streams.");
}

void check_chunks(
    const char* entry, const ReversibleOptions& options, const Tensor& x) {
  const auto dim = options.chunk_dim();
  const bool chunked = options.chunks_f() > 1 || options.chunks_g() > 1;
  TORCH_CHECK_INDEX(
      !chunked || (dim >= -x.dim() && dim < x.dim()),
      "torchrev::",
      entry,
      ": expected option `chunk_dim` to name a dimension of a stream, but got ",
      dim,
      " (shape ",
      x.sizes(),
      ").");
}

std::ostream& operator<<(std::ostream& stream, const Place& place) {
  const auto branch = place.step % 2 == 0 ? 'F' : 'G';
  return stream << fmt::format("{} of block {}", branch, place.step / 2);
}

void check_input_unchanged(const Place& place, bool unchanged) {
  TORCH_CHECK_VALUE(
      unchanged,
      "torchrev::",
      place.entry,
      ": expected ",
      place,
      " not to write to its input, but got one that was modified in place. "
      "clone() it in the branch.");
}

void check_branch_output(
    const Place& place, const Tensor& x, const Tensor& out) {
  TORCH_CHECK_VALUE(
      out.defined(),
      "torchrev::",
      place.entry,
      ": expected ",
      place,
      " to return a tensor, but got an undefined one.");
  TORCH_CHECK_VALUE(
      out.sizes() == x.sizes(),
      "torchrev::",
      place.entry,
      ": expected ",
      place,
      " to keep the shape ",
      x.sizes(),
      " of its input, but got ",
      out.sizes(),
      ".");
  TORCH_CHECK_TYPE(
      out.device() == x.device(),
      "torchrev::",
      place.entry,
      ": expected ",
      place,
      " to keep the device ",
      x.device(),
      " of its input, but got ",
      out.device(),
      ".");
  // Autocast branches return a lower precision, which the addition promotes.
  const bool kept = out.scalar_type() == x.scalar_type() ||
                    (compat::has_autocast(x.device().type()) &&
                     compat::is_autocast_enabled(x.device().type()) &&
                     at::isFloatingType(out.scalar_type()) &&
                     c10::promoteTypes(out.scalar_type(), x.scalar_type()) ==
                         x.scalar_type());
  TORCH_CHECK_TYPE(
      kept,
      "torchrev::",
      place.entry,
      ": expected ",
      place,
      " to keep the dtype ",
      x.scalar_type(),
      " of its input, but got ",
      out.scalar_type(),
      ".");
}

}  // namespace detail
}  // namespace torchrev
