#include "check.h"

#include <c10/core/ScalarType.h>
#include <fmt/format.h>

#include <string>

#include "compat.h"

namespace torchrev {
namespace detail {

std::string message(
    const std::string& entry,
    const std::string& expected,
    const std::string& got,
    const std::string& way_out) {
  return fmt::format(
      "torchrev::{}: expected {}, but got {}.{}{}",
      entry,
      expected,
      got,
      way_out.empty() ? "" : " ",
      way_out);
}

namespace {

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

}  // namespace

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
  if (streams.kind != Streams::Kind::kSplit) {
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
  return place.step ? stream << *place.step : stream << place.what;
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
    const Place& place,
    const Tensor& x,
    at::IntArrayRef sizes,
    const Tensor& out) {
  TORCH_CHECK_VALUE(
      out.defined(),
      "torchrev::",
      place.entry,
      ": expected ",
      place,
      " to return a tensor, but got an undefined one.");
  TORCH_CHECK_VALUE(
      out.sizes() == sizes,
      "torchrev::",
      place.entry,
      ": expected ",
      place,
      sizes == x.sizes() ? " to keep the shape " : " to return the shape ",
      sizes,
      sizes == x.sizes() ? " of its input" : ", as its coupling takes it up",
      ", but got ",
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

std::ostream& operator<<(std::ostream& stream, const StepId& step) {
  return stream << (step.role == Role::kF ? 'F' : 'G') << " of block "
                << step.block;
}

}  // namespace torchrev
