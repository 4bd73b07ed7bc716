#include <torch/csrc/jit/frontend/function_schema_parser.h>
#include <torch/library.h>
#include <torchrev/ops.h>
#include <torchrev/remember.h>

#include <string>
#include <vector>

// NOTE [Operators]
// Schemas take modules as `Any`, which only boxed kernels may. They are
// registered as CONSERVATIVE: an operator that counts as pure would be dropped
// when its result is unused, and merged with an equal call, which is wrong with
// dropout or batch norm inside.

namespace torchrev {

namespace {

using torch::jit::Module;
using torch::jit::Stack;

constexpr auto kOptions =
    "bool preserve_rng_state=True, int save_every=0, int store_last=0, "
    "int chunks_f=1, int chunks_g=1, int chunk_dim=1, "
    "ScalarType? stream_dtype=None, int? fraction_bits=None, "
    "float? drift_tolerance=0.05, str coupling=\"additive\", "
    "float momentum=0.9";

// Takes the arguments of a call off the stack and hands them out from left to
// right.
class Arguments {
 public:
  Arguments(const c10::OperatorHandle& handle, Stack& stack)
      : schema_(handle.schema()),
        values_(torch::jit::pop(stack, schema_.arguments().size())) {}

  Tensor tensor() {
    return next().toTensor();
  }
  Module module();
  std::vector<Tensor> context();
  Streams streams();
  ReversibleOptions options();

 private:
  c10::IValue next() {
    return std::move(values_[position_++]);
  }
  void append_context(const c10::IValue& value, std::vector<Tensor>& context);

  const c10::FunctionSchema& schema_;
  std::vector<c10::IValue> values_;
  std::size_t position_ = 0;
};

Module Arguments::module() {
  const auto& name = schema_.arguments()[position_].name();
  const auto value = next();
  TORCH_CHECK_TYPE(
      value.isModule(),
      schema_.name(),
      ": expected `",
      name,
      "` to be a TorchScript module, but got ",
      value.tagKind(),
      ". Script it with torch.jit.script first.");
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
  TORCH_CHECK_TYPE(
      value.isTuple() || value.isList(),
      schema_.name(),
      ": expected `context` to be a tensor, None, or a list or tuple of these, "
      "but got ",
      value.tagKind(),
      ".");
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

Streams Arguments::streams() {
  const auto name = next().toStringRef();
  const auto dim = next().toInt();
  if (name == "split") {
    return {Streams::Kind::kSplit, dim};
  }
  TORCH_CHECK_VALUE(
      name == "duplicate" || name == "velocity",
      schema_.name(),
      ": expected `streams` to be \"split\", \"duplicate\" or \"velocity\", "
      "but got \"",
      name,
      "\".");
  return {
      name == "duplicate" ? Streams::Kind::kDuplicate
                          : Streams::Kind::kVelocity,
      0};
}

ReversibleOptions Arguments::options() {
  ReversibleOptions options;
  options.preserve_rng_state(next().toBool());
  options.save_every(next().toInt());
  options.store_last(next().toInt());
  options.chunks_f(next().toInt());
  options.chunks_g(next().toInt());
  options.chunk_dim(next().toInt());
  options.stream_dtype(next().toOptional<at::ScalarType>());
  options.fraction_bits(next().toOptional<int64_t>());
  options.drift_tolerance(next().toOptional<double>());
  options.coupling(next().toStringRef());
  options.momentum(next().toDouble());
  return options;
}

// The kernels: each reads the arguments of its function in ops.h.

template <auto& kFunction>
void block(const c10::OperatorHandle& handle, Stack* stack) {
  Arguments arguments(handle, *stack);
  const auto f = arguments.module();
  const auto g = arguments.module();
  const auto s1 = arguments.tensor();
  const auto s2 = arguments.tensor();
  const auto context = arguments.context();
  auto pair = kFunction(f, g, s1, s2, context, arguments.options());
  torch::jit::push(*stack, std::get<0>(pair), std::get<1>(pair));
}

template <auto& kFunction>
void sequence(const c10::OperatorHandle& handle, Stack* stack) {
  Arguments arguments(handle, *stack);
  const auto blocks = arguments.module();
  const auto s1 = arguments.tensor();
  const auto s2 = arguments.tensor();
  const auto context = arguments.context();
  auto pair = kFunction(blocks, s1, s2, context, arguments.options());
  torch::jit::push(*stack, std::get<0>(pair), std::get<1>(pair));
}

void residual(const c10::OperatorHandle& handle, Stack* stack) {
  Arguments arguments(handle, *stack);
  const auto blocks = arguments.module();
  const auto x = arguments.tensor();
  const auto context = arguments.context();
  const auto streams = arguments.streams();
  const auto options = arguments.options().streams(streams);
  torch::jit::push(
      *stack, ops::reversible_residual(blocks, x, context, options));
}

template <c10::BoxedKernel::BoxedKernelFunction* kKernel>
void define(
    torch::Library& library,
    const std::string& name,
    const std::string& arguments,
    const std::string& keywords,
    const std::string& returns) {
  const auto signature = [&](const char* overload, const char* context) {
    return torch::schema(
        (name + overload + "(" + arguments + context + ", *, " + keywords +
         kOptions + ") -> " + returns)
            .c_str(),
        c10::AliasAnalysisKind::CONSERVATIVE);
  };
  const auto kernel = [] {
    return torch::CppFunction::makeFromBoxedFunction<kKernel>();
  };
  library.def(signature("", ""), kernel());
  library.def(signature(".context", ", Any context"), kernel());
}

}  // namespace

namespace detail {

bool ops_registered() noexcept {
  return true;
}

}  // namespace detail

TORCH_LIBRARY(torchrev, library) {
  const auto pair = "(Tensor, Tensor)";
  define<&block<ops::reversible_block>>(
      library,
      "reversible_block",
      "Any f, Any g, Tensor x1, Tensor x2",
      "",
      pair);
  define<&block<ops::reversible_block_inverse>>(
      library,
      "reversible_block_inverse",
      "Any f, Any g, Tensor y1, Tensor y2",
      "",
      pair);
  define<&sequence<ops::reversible_sequence>>(
      library,
      "reversible_sequence",
      "Any blocks, Tensor x1, Tensor x2",
      "",
      pair);
  define<&sequence<ops::reversible_sequence_inverse>>(
      library,
      "reversible_sequence_inverse",
      "Any blocks, Tensor y1, Tensor y2",
      "",
      pair);
  define<&residual>(
      library,
      "reversible_residual",
      "Any blocks, Tensor x",
      "str streams=\"split\", int dim=-1, ",
      "Tensor");
  library.def(
      torch::schema(
          "remember(str name, Tensor tensor) -> Tensor",
          c10::AliasAnalysisKind::CONSERVATIVE),
      [](std::string name, const Tensor& tensor) {
        return remember(name, tensor);
      });
}

}  // namespace torchrev
