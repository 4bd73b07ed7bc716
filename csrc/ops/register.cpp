#include <torch/library.h>
#include <torchrev/drift.h>
#include <torchrev/ops.h>
#include <torchrev/remember.h>

#include <string>
#include <vector>

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
torch::CppFunction kernel() {
  return torch::CppFunction::makeFromBoxedFunction<kKernel>();
}

// An operator and its overload `.context`.
struct Operator {
  std::string name;
  const char* arguments;
  // Its keywords.
  detail::StreamsKeywords streams;
  const char* returns;
  torch::CppFunction (*kernel)();
};

constexpr auto kPair = "(Tensor, Tensor)";
constexpr const char* kOverloads[] = {"", ".context"};

std::vector<Operator> operators() {
  return {
      {"reversible_block",
       "Any f, Any g, Tensor x1, Tensor x2",
       detail::StreamsKeywords::kNone,
       kPair,
       kernel<&block<ops::reversible_block>>},
      {"reversible_block_inverse",
       "Any f, Any g, Tensor y1, Tensor y2",
       detail::StreamsKeywords::kNone,
       kPair,
       kernel<&block<ops::reversible_block_inverse>>},
      {"reversible_sequence",
       "Any blocks, Tensor x1, Tensor x2",
       detail::StreamsKeywords::kNone,
       kPair,
       kernel<&sequence<ops::reversible_sequence>>},
      {"reversible_sequence_inverse",
       "Any blocks, Tensor y1, Tensor y2",
       detail::StreamsKeywords::kNone,
       kPair,
       kernel<&sequence<ops::reversible_sequence_inverse>>},
      {"reversible_residual",
       "Any blocks, Tensor x",
       detail::StreamsKeywords::kAll,
       "Tensor",
       kernel<&residual<ops::reversible_residual>>},
      {"reversible_residual_inverse",
       "Any blocks, Tensor y",
       detail::StreamsKeywords::kDim,
       "Tensor",
       kernel<&residual<ops::reversible_residual_inverse>>}};
}

void define(torch::Library& library, const Operator& op) {
  for (const std::string overload : kOverloads) {
    const auto signature = op.name + overload + "(" + op.arguments +
                           (overload.empty() ? "" : ", Any context") + ", *, " +
                           detail::keywords(op.streams) + ") -> " + op.returns;
    library.def(
        torch::schema(signature.c_str(), c10::AliasAnalysisKind::CONSERVATIVE),
        op.kernel());
  }
}

// For a dispatch key that operators get to otherwise, see NOTE [Wrapped].
void implement(torch::Library& library) {
  for (const auto& op : operators()) {
    for (const auto* overload : kOverloads) {
      library.impl((op.name + overload).c_str(), op.kernel());
    }
  }
}

}  // namespace

namespace detail {

bool ops_registered() noexcept {
  return true;
}

}  // namespace detail

TORCH_LIBRARY(torchrev, library) {
  for (const auto& op : operators()) {
    define(library, op);
  }
  library.def(
      torch::schema(
          "check_deferred() -> ()", c10::AliasAnalysisKind::CONSERVATIVE),
      [] { check_deferred(); });
  library.def(
      torch::schema(
          "remember(str name, Tensor tensor) -> Tensor",
          c10::AliasAnalysisKind::CONSERVATIVE),
      [](std::string name, const Tensor& tensor) {
        return remember(name, tensor);
      });
}

// NOTE [Wrapped]
// vmap would call an operator that it does not know once for each slice, below
// autograd, and functionalize would call it below autograd, too: gradients were
// silently wrong. With kernels of their own, the operators see what was
// wrapped; they let plain autograd do the work, or refuse
// (stack/transforms.h).
TORCH_LIBRARY_IMPL(torchrev, FuncTorchBatched, library) {
  implement(library);
}
TORCH_LIBRARY_IMPL(torchrev, Batched, library) {
  implement(library);
}
TORCH_LIBRARY_IMPL(torchrev, Functionalize, library) {
  implement(library);
}

}  // namespace torchrev
