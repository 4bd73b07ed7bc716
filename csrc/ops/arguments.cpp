#include "ops/arguments.h"

#include <fmt/format.h>
#include <torchrev/coupling.h>

#include "check.h"
#include "options.h"

namespace torchrev {
namespace detail {

namespace {

constexpr auto kStreams = "streams";
constexpr auto kDim = "dim";
// Of a keyword in released schemas; it cannot change any more.
constexpr double kDefaultMomentum = 0.9;

std::string keyword(const char* name, bool value) {
  return fmt::format("bool {}={}", name, value ? "True" : "False");
}
std::string keyword(const char* name, int64_t value) {
  return fmt::format("int {}={}", name, value);
}
std::string keyword(const char* name, torch::optional<int64_t> value) {
  return fmt::format(
      "int? {}={}", name, value ? std::to_string(*value) : "None");
}
std::string keyword(const char* name, torch::optional<double> value) {
  return fmt::format(
      "float? {}={}", name, value ? fmt::format("{}", *value) : "None");
}
// No option of this type has a default but none.
std::string keyword(
    const char* name, torch::optional<at::ScalarType> /*value*/) {
  return fmt::format("ScalarType? {}=None", name);
}
std::string keyword(const char* name, const Streams& value) {
  return fmt::format("str {}=\"split\", {}", name, keyword(kDim, value.dim));
}
// An operator names the couplings that come with the library.
std::string keyword(
    const char* name, const std::shared_ptr<const Coupling>& /*value*/) {
  return fmt::format(
      "str {}=\"additive\", float momentum={}", name, kDefaultMomentum);
}

}  // namespace

std::string keywords(StreamsKeywords of_streams) {
  const ReversibleOptions defaults;
  std::string text;
  visit_options([&](const char* name, const auto& get, const auto&) {
    const bool is_streams = name == std::string(kStreams);
    if (is_streams && of_streams == StreamsKeywords::kNone) {
      return;
    }
    text += text.empty() ? "" : ", ";
    text += is_streams && of_streams == StreamsKeywords::kDim
                ? keyword(kDim, defaults.streams().dim)
                : keyword(name, get(defaults));
  });
  return text;
}

Arguments::Arguments(
    const c10::OperatorHandle& handle, torch::jit::Stack& stack)
    : schema_(handle.schema()),
      entry_(schema_.name().substr(schema_.name().rfind(':') + 1)),
      values_(torch::jit::pop(stack, schema_.arguments().size())) {}

Tensor Arguments::tensor() {
  return next().toTensor();
}

torch::jit::Module Arguments::module() {
  const auto& name = schema_.arguments()[position_].name();
  const auto value = next();
  TORCHREV_CHECK(
      TypeError,
      value.isModule(),
      entry_,
      "`" + name + "` to be a TorchScript module",
      value.tagKind(),
      "Script it with torch.jit.script first.");
  return value.toModule();
}

std::vector<Tensor> Arguments::context() {
  std::vector<Tensor> tensors;
  if (schema_.overload_name() == "context") {
    append_context(next(), tensors);
  }
  return tensors;
}

// A tensor, None, or a list or tuple of these.
void Arguments::append_context(
    const c10::IValue& value, std::vector<Tensor>& context) {
  if (value.isTensor()) {
    context.push_back(value.toTensor());
    return;
  }
  if (value.isNone()) {
    context.emplace_back();
    return;
  }
  TORCHREV_CHECK(
      TypeError,
      value.isTuple() || value.isList(),
      entry_,
      "`context` to be a tensor, None, or a list or tuple of these",
      value.tagKind());
  if (value.isTuple()) {
    for (const auto& item : value.toTuple()->elements()) {
      append_context(item, context);
    }
  } else {
    for (const c10::IValue& item : value.toListRef()) {
      append_context(item, context);
    }
  }
}

void Arguments::read(bool& value) {
  value = next().toBool();
}

void Arguments::read(int64_t& value) {
  value = next().toInt();
}

void Arguments::read(torch::optional<int64_t>& value) {
  value = next().toOptional<int64_t>();
}

void Arguments::read(torch::optional<double>& value) {
  value = next().toOptional<double>();
}

void Arguments::read(torch::optional<at::ScalarType>& value) {
  value = next().toOptional<at::ScalarType>();
}

// As many of its keywords as the operator has, see StreamsKeywords.
void Arguments::read(Streams& value) {
  const auto& keyword = schema_.arguments()[position_].name();
  if (keyword == kDim) {
    value = {Streams::Kind::kSplit, next().toInt()};
    return;
  }
  if (keyword != kStreams) {
    return;
  }
  const auto name = next().toStringRef();
  const auto dim = next().toInt();
  if (name == "split") {
    value = {Streams::Kind::kSplit, dim};
    return;
  }
  TORCHREV_CHECK(
      ValueError,
      name == "duplicate" || name == "velocity",
      entry_,
      "`streams` to be \"split\", \"duplicate\" or \"velocity\"",
      '"' + name + '"');
  value = {
      name == "duplicate" ? Streams::Kind::kDuplicate
                          : Streams::Kind::kVelocity,
      0};
}

// The affine coupling works along the dimension that splits the streams, since
// a user who splits channels has branches that return channels.
std::shared_ptr<const Coupling> Arguments::coupling(const Streams& streams) {
  const auto name = next().toStringRef();
  const auto momentum = next().toDouble();
  TORCHREV_CHECK(
      ValueError,
      name == "additive" || name == "momentum" || name == "affine",
      entry_,
      "option `coupling` to be \"additive\", \"momentum\" or \"affine\"",
      '"' + name + '"');
  if (name == "momentum") {
    return momentum_coupling(momentum);
  }
  TORCHREV_CHECK(
      ValueError,
      momentum == kDefaultMomentum,
      entry_,
      "option `momentum` only with coupling = \"momentum\"",
      fmt::format("momentum = {} and \"{}\"", momentum, name));
  const bool split = streams.kind == Streams::Kind::kSplit;
  return name == "affine" ? affine_coupling(split ? streams.dim : -1)
                          : additive_coupling();
}

ReversibleOptions Arguments::options() {
  ReversibleOptions options;
  visit_options([&](const char* /*name*/, const auto& get, const auto&) {
    using Value = std::decay_t<decltype(get(options))>;
    if constexpr (std::is_same_v<Value, std::shared_ptr<const Coupling>>) {
      get(options) = coupling(options.streams());
    } else {
      read(get(options));
    }
  });
  return options;
}

}  // namespace detail
}  // namespace torchrev
