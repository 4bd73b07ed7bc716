#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/library.h>

#include <mutex>
#include <string>

#include "check.h"
#include "compat.h"
#include "device/capabilities.h"
#include "recompute/generator_moves.h"
#include "recompute/interception.h"
#include "recompute/interception_kernels.h"

// How operators that draw random numbers are intercepted.

namespace torchrev {
namespace detail {

namespace {

// The arguments of an operator on the stack.
at::ArrayRef<c10::IValue> top_of(
    const torch::jit::Stack& stack, std::size_t count) {
  return at::ArrayRef<c10::IValue>(stack).slice(stack.size() - count);
}

bool is_generator(const c10::TypePtr& type) {
  const auto optional = type->cast<c10::OptionalType>();
  return (optional ? optional->getElementType() : type)->kind() ==
         c10::TypeKind::GeneratorType;
}

// The number of the argument of `schema` that fits, or how many there are.
template <typename Fits>
std::size_t find_argument(const c10::FunctionSchema& schema, const Fits& fits) {
  std::size_t i = 0;
  while (i < schema.arguments().size() && !fits(schema.arguments()[i].type())) {
    ++i;
  }
  return i;
}

c10::Device device_of(at::ArrayRef<c10::IValue> arguments) {
  for (const auto& argument : arguments) {
    if (argument.isTensor() && argument.toTensor().defined()) {
      return argument.toTensor().device();
    }
  }
  return c10::Device(c10::kMeta);
}

// A generator of this thread to run operators in forward with.
at::Generator scratch_for(const at::Generator& generator) {
  if (!generator.device().is_cpu()) {
    return generator.clone();
  }
  thread_local const auto scratch = at::make_generator<at::CPUGeneratorImpl>();
  return scratch;
}

bool is_captured(const c10::Device& device) {
  if (!has_streams(device)) {
    return false;
  }
  const c10::impl::VirtualGuardImpl guard(device.type());
  return compat::is_capturing(guard.getStream(device));
}

// A graph draws anew at each launch, by the default generator alone: nobody
// knows what it will have drawn.
void check_not_captured(const c10::Device& device) {
  TORCHREV_CHECK(
      ValueError,
      !is_captured(device),
      "Branch",
      "a branch to draw random numbers on a stream that runs what it is given",
      "a draw on one that is captured (a CUDA graph)",
      "Draw outside of branches, and hand the numbers over as context.");
}

// The recordings that see a draw, and the generators that it comes from; null:
// the default one.
struct Drawing {
  c10::SmallVector<DrawRecord*, 4> records;
  OwnGenerators* own = nullptr;

  Drawing() {
    for (auto* at = Interception::innermost(); at && !own; at = at->outer()) {
      if (at->parts().record) {
        records.push_back(at->parts().record);
      }
      own = at->parts().own;
    }
  }
  // Whether the numbers are replayed.
  bool matters() const {
    return own || !records.empty();
  }
  void note(
      const c10::Device& device,
      const GeneratorState& before,
      const GeneratorState& after) const {
    for (auto* record : records) {
      record->note(device, before, after);
    }
  }
};

// `call` draws from the generator that it is given.
template <typename Call>
void draw(
    const Drawing& drawing,
    const c10::Device& device,
    at::Generator generator,
    const Call& call) {
  if (drawing.own) {
    auto& own = drawing.own->next(device);
    if (drawing.records.empty()) {
      call(own);
      return;
    }
    const auto before = GeneratorState::of(own);
    call(own);
    drawing.note(device, before, GeneratorState::of(own));
    return;
  }
  const std::lock_guard<std::mutex> lock(generator.mutex());
  auto scratch = scratch_for(generator);
  const auto before = GeneratorState::of(generator);
  before.set(scratch);
  call(scratch);
  const auto after = GeneratorState::of(scratch);
  after.set(generator);
  GeneratorMoves::of(generator).note(before, after);
  note_drawing_thread();
  drawing.note(device, before, after);
}

// The kernel of operators that take a generator.
void run_drawing(
    const c10::OperatorHandle& op,
    c10::DispatchKeySet keys,
    torch::jit::Stack* stack) {
  const auto& schema = op.schema();
  const auto arguments = top_of(*stack, schema.arguments().size());
  const auto device = device_of(arguments);
  const auto generator = default_generator(device);
  const auto position =
      stack->size() - arguments.size() + find_argument(schema, is_generator);
  const auto& given = (*stack)[position];
  const Drawing drawing;
  // A generator of the user's own is the user's.
  const bool is_default =
      generator.defined() && Interception::of_draws() &&
      !(given.isGenerator() && given.toGenerator() != generator);
  if (!is_default || (!drawing.matters() && is_captured(device))) {
    run_intercepted(op, keys, stack);
    return;
  }
  check_not_captured(device);
  draw(drawing, device, generator, [&](const at::Generator& from) {
    (*stack)[position] = from;
    run_intercepted(op, keys, stack);
  });
}

// All operators of LibTorch that write random numbers to a tensor: those that
// make one call these.
void intercept_random_operators(torch::Library& library) {
  auto& dispatcher = c10::Dispatcher::singleton();
  for (const auto& name : dispatcher.getAllOpNames()) {
    const auto op = dispatcher.findSchema(name);
    if (!op || op->schema().name().rfind("aten::", 0) != 0) {
      continue;
    }
    const auto& schema = op->schema();
    const auto count = schema.arguments().size();
    const auto is_tensor = [](const c10::TypePtr& type) {
      return type->kind() == c10::TypeKind::TensorType;
    };
    if (find_argument(schema, is_generator) < count &&
        find_argument(schema, is_tensor) < count) {
      const auto overload = name.overload_name;
      const auto full = name.name + (overload.empty() ? "" : "." + overload);
      library.impl(
          full.c_str(),
          torch::CppFunction::makeFromBoxedFunction<&run_drawing>());
    }
  }
}

TORCH_LIBRARY_IMPL(aten, DeferredInit, library) {
  intercept_random_operators(library);
}

}  // namespace

}  // namespace detail
}  // namespace torchrev
