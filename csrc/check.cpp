#include "check.h"

#include <c10/core/ScalarType.h>
#include <fmt/format.h>

#include <string>

#include "compat.h"
#include "tensors.h"

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
  TORCHREV_CHECK(
      ValueError,
      x.defined(),
      entry,
      c10::str("`", name, "` to be a tensor"),
      "an undefined one");
  TORCHREV_CHECK(
      TypeError,
      x.layout() == at::kStrided && !x.is_nested(),
      entry,
      c10::str("`", name, "` to be a strided tensor"),
      x.is_nested() ? "a nested one" : c10::str("layout ", x.layout()),
      x.is_nested() ? "Pad it with to_padded_tensor()."
                    : "Convert it with to_dense().");
  TORCHREV_CHECK(
      TypeError,
      is_stream_dtype(x.scalar_type()),
      entry,
      c10::str("`", name, "` to be floating point"),
      c10::str(x.scalar_type()),
      "Convert it with to(torch::kFloat).");
}

}  // namespace

void check_blocks(const char* entry, std::size_t size) {
  TORCHREV_CHECK(
      ValueError, size > 0, entry, "at least one block", "an empty list");
}

void check_streams(
    const char* entry,
    const char* name1,
    const Tensor& x1,
    const char* name2,
    const Tensor& x2) {
  check_floating_point(entry, name1, x1);
  check_floating_point(entry, name2, x2);
  TORCHREV_CHECK(
      ValueError,
      x1.sizes() == x2.sizes(),
      entry,
      c10::str("`", name1, "` and `", name2, "` to have one shape"),
      c10::str(x1.sizes(), " and ", x2.sizes()));
  TORCHREV_CHECK(
      TypeError,
      x1.scalar_type() == x2.scalar_type(),
      entry,
      c10::str("`", name1, "` and `", name2, "` to have one dtype"),
      c10::str(x1.scalar_type(), " and ", x2.scalar_type()));
  TORCHREV_CHECK(
      TypeError,
      x1.device() == x2.device(),
      entry,
      c10::str("`", name1, "` and `", name2, "` to be on one device"),
      c10::str(x1.device(), " and ", x2.device()));
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
  TORCHREV_CHECK(
      IndexError,
      dim >= -x.dim() && dim < x.dim(),
      entry,
      c10::str("`split(dim)` to name a dimension of `", name, "`"),
      c10::str(dim, " (shape ", x.sizes(), ")"));
  TORCHREV_CHECK(
      ValueError,
      x.size(dim) % 2 == 0,
      entry,
      c10::str("`", name, ".size(", dim, ")` to be even"),
      c10::str(x.size(dim), " (shape ", x.sizes(), ")"),
      "Pad it, or use duplicate() streams.");
}

void check_chunks(
    const char* entry, const ReversibleOptions& options, const Tensor& x) {
  const auto dim = options.chunk_dim();
  const bool chunked = options.chunks_f() > 1 || options.chunks_g() > 1;
  TORCHREV_CHECK(
      IndexError,
      !chunked || (dim >= -x.dim() && dim < x.dim()),
      entry,
      "option `chunk_dim` to name a dimension of a stream",
      c10::str(dim, " (shape ", x.sizes(), ")"));
}

std::ostream& operator<<(std::ostream& stream, const Place& place) {
  return place.step ? stream << *place.step : stream << place.what;
}

void check_input_unchanged(const Place& place, bool unchanged) {
  TORCHREV_CHECK(
      ValueError,
      unchanged,
      place.entry,
      c10::str(place, " not to write to its input"),
      "one that was modified in place",
      "clone() it in the branch.");
}

void check_branch_output(
    const Place& place,
    const Tensor& x,
    at::IntArrayRef sizes,
    const Tensor& out) {
  TORCHREV_CHECK(
      ValueError,
      out.defined(),
      place.entry,
      c10::str(place, " to return a tensor"),
      "an undefined one");
  TORCHREV_CHECK(
      ValueError,
      out.sizes() == sizes,
      place.entry,
      c10::str(
          place,
          sizes == x.sizes() ? " to keep the shape " : " to return the shape ",
          sizes,
          sizes == x.sizes() ? " of its input"
                             : ", as its coupling takes it up"),
      c10::str(out.sizes()));
  TORCHREV_CHECK(
      TypeError,
      out.device() == x.device(),
      place.entry,
      c10::str(place, " to keep the device ", x.device(), " of its input"),
      c10::str(out.device()));
  // Autocast branches return a lower precision, which the addition promotes.
  const bool kept = out.scalar_type() == x.scalar_type() ||
                    (compat::has_autocast(x.device().type()) &&
                     compat::is_autocast_enabled(x.device().type()) &&
                     at::isFloatingType(out.scalar_type()) &&
                     c10::promoteTypes(out.scalar_type(), x.scalar_type()) ==
                         x.scalar_type());
  TORCHREV_CHECK(
      TypeError,
      kept,
      place.entry,
      c10::str(place, " to keep the dtype ", x.scalar_type(), " of its input"),
      c10::str(out.scalar_type()));
}

}  // namespace detail

std::ostream& operator<<(std::ostream& stream, const StepId& step) {
  return stream << (step.role == Role::kF ? 'F' : 'G') << " of block "
                << step.block;
}

}  // namespace torchrev
