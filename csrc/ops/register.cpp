#include <torch/library.h>
#include <torchrev/ops.h>
#include <torchrev/remember.h>

#include <string>

#include "ops/arguments.h"

// NOTE [Operators]
// Schemas take modules as `Any`, which only boxed kernels may. They are
// registered as CONSERVATIVE: an operator that counts as pure would be dropped
// when its result is unused, and merged with an equal call, which is wrong with
// dropout or batch norm inside.

namespace torchrev {

namespace {

using detail::Arguments;
using torch::jit::Stack;

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

template <auto& kFunction>
void residual(const c10::OperatorHandle& handle, Stack* stack) {
  Arguments arguments(handle, *stack);
  const auto blocks = arguments.module();
  const auto x = arguments.tensor();
  const auto context = arguments.context();
  torch::jit::push(*stack, kFunction(blocks, x, context, arguments.options()));
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
         ") -> " + returns)
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
  const auto of_pairs = detail::keywords(detail::StreamsKeywords::kNone);
  define<&block<ops::reversible_block>>(
      library,
      "reversible_block",
      "Any f, Any g, Tensor x1, Tensor x2",
      of_pairs,
      pair);
  define<&block<ops::reversible_block_inverse>>(
      library,
      "reversible_block_inverse",
      "Any f, Any g, Tensor y1, Tensor y2",
      of_pairs,
      pair);
  define<&sequence<ops::reversible_sequence>>(
      library,
      "reversible_sequence",
      "Any blocks, Tensor x1, Tensor x2",
      of_pairs,
      pair);
  define<&sequence<ops::reversible_sequence_inverse>>(
      library,
      "reversible_sequence_inverse",
      "Any blocks, Tensor y1, Tensor y2",
      of_pairs,
      pair);
  define<&residual<ops::reversible_residual>>(
      library,
      "reversible_residual",
      "Any blocks, Tensor x",
      detail::keywords(detail::StreamsKeywords::kAll),
      "Tensor");
  define<&residual<ops::reversible_residual_inverse>>(
      library,
      "reversible_residual_inverse",
      "Any blocks, Tensor y",
      detail::keywords(detail::StreamsKeywords::kDim),
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
