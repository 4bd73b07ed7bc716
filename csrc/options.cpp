#include "options.h"

#include <c10/core/ScalarType.h>
#include <torchrev/coupling.h>

#include <sstream>

#include "check.h"
#include "tensors.h"

namespace torchrev {
namespace detail {

namespace {

// The number that has to be in the range of its option, if the value has one.
torch::optional<double> number_of(int64_t value) {
  return static_cast<double>(value);
}
torch::optional<double> number_of(torch::optional<int64_t> value) {
  return value ? number_of(*value) : torch::nullopt;
}
torch::optional<double> number_of(torch::optional<double> value) {
  return value;
}
template <typename T>
torch::optional<double> number_of(const T& /*value*/) {
  return torch::nullopt;
}

bool is_additive(const ReversibleOptions& options) {
  return options.coupling() == additive_coupling();
}

// Whether `wide` is a floating point dtype that represents every number that
// `dtype` represents.
bool holds(at::ScalarType wide, at::ScalarType dtype) {
  return is_stream_dtype(wide) && c10::promoteTypes(wide, dtype) == wide;
}

}  // namespace

void check_at_least(
    const char* entry, const char* name, int64_t least, int64_t value) {
  TORCHREV_CHECK(
      ValueError,
      value >= least,
      entry,
      c10::str("option `", name, "` to be at least ", least),
      c10::str(value));
}

void check_options(const char* entry, const ReversibleOptions& options) {
  visit_options([&](auto name, const auto& get, const auto& range) {
    const auto value = number_of(get(options));
    TORCHREV_CHECK(
        ValueError,
        !value || range.holds(*value),
        entry,
        c10::str(
            "option `",
            name,
            range.excluded ? "` to be more than " : "` to be at least ",
            range.least),
        c10::str(*value));
  });
  TORCHREV_CHECK(
      ValueError,
      options.coupling(),
      entry,
      "option `coupling` to be a coupling",
      "null",
      "The default is additive_coupling().");
  TORCHREV_CHECK(
      ValueError,
      !options.fraction_bits() || is_additive(options),
      entry,
      "the additive coupling, which alone is exact on a grid",
      c10::str(
          "fraction_bits = ", *options.fraction_bits(), " with another one"),
      "Use stream_dtype(torch::kDouble) there.");
}

void check_streams_options(
    const char* entry, const ReversibleOptions& options, const Tensor& x) {
  const auto dtype = options.stream_dtype().value_or(x.scalar_type());
  TORCHREV_CHECK(
      TypeError,
      holds(dtype, x.scalar_type()),
      entry,
      c10::str(
          "option `stream_dtype` to be a floating point dtype that holds the "
          "input's ",
          x.scalar_type()),
      c10::str(dtype));
  if (!options.fraction_bits()) {
    return;
  }
  const auto bits = *options.fraction_bits();
  TORCHREV_CHECK(
      ValueError,
      mantissa_bits(dtype) > 10,
      entry,
      c10::str("float32 or float64 streams with fraction_bits = ", bits),
      c10::str(dtype),
      "Set stream_dtype(torch::kFloat).");
  TORCHREV_CHECK(
      ValueError,
      bits < mantissa_bits(dtype),
      entry,
      c10::str(
          "option `fraction_bits` to be below the ",
          mantissa_bits(dtype),
          " bits of the fraction of ",
          dtype),
      c10::str(bits));
}

void check_invertible(
    const char* entry, const ReversibleOptions& options, int64_t blocks) {
  TORCHREV_CHECK(
      ValueError,
      blocks == 0 || options.coupling()->is_invertible(),
      entry,
      "a coupling that has an inverse where blocks are inverted",
      c10::str(printed(*options.coupling()), " and ", blocks, " such blocks"),
      "Keep the activations of all with store_last.");
}

namespace {

std::string text_of(bool value) {
  return value ? "true" : "false";
}
std::string text_of(const Streams& streams) {
  switch (streams.kind) {
    case Streams::Kind::kDuplicate:
      return "duplicate()";
    case Streams::Kind::kVelocity:
      return "velocity()";
    default:
      return c10::str("split(dim=", streams.dim, ")");
  }
}
std::string text_of(const std::shared_ptr<const Coupling>& coupling) {
  return coupling ? printed(*coupling) : "null";
}
template <typename T>
std::string text_of(const torch::optional<T>& value) {
  return value ? c10::str(*value) : "none";
}
std::string text_of(int64_t value) {
  return std::to_string(value);
}

}  // namespace

std::string printed(const Coupling& coupling) {
  std::ostringstream text;
  coupling.pretty_print(text);
  return text.str();
}

std::string printed(const ReversibleOptions& options) {
  const ReversibleOptions defaults;
  std::string text = text_of(options.streams());
  visit_options([&](const std::string& name, const auto& get, const auto&) {
    const auto value = text_of(get(options));
    if (name != "streams" && value != text_of(get(defaults))) {
      text += ", " + name + "=" + value;
    }
  });
  return text;
}

}  // namespace detail
}  // namespace torchrev
