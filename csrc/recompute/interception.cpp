#include "recompute/interception.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

#include <mutex>
#include <string>

namespace torchrev {
namespace detail {

namespace {

// Comes before autograd, autocast and all backends, and no kernels of LibTorch
// are under it: it was made for libraries outside of it.
constexpr auto kKey = c10::DispatchKey::DeferredInit;

thread_local const Interception* innermost_interception = nullptr;

using Stack = torch::jit::Stack;

// The arguments or, after the call, the results of `op` on the stack.
at::ArrayRef<c10::IValue> top_of(const Stack& stack, std::size_t count) {
  return at::ArrayRef<c10::IValue>(stack).slice(stack.size() - count);
}

// Calls `replace(tensor, i)` for each tensor of the last `count` values of the
// stack, i the number of the value, those in lists included; puts what it
// returns in its place if that is defined. Returns whether it did.
template <typename Replace>
bool replace_tensors(Stack& stack, std::size_t count, const Replace& replace) {
  bool any = false;
  const auto first = stack.size() - count;
  const auto replaced = [&](const c10::IValue& value, std::size_t i) {
    if (!value.isTensor() || !value.toTensor().defined()) {
      return Tensor();
    }
    auto other = replace(value.toTensor(), i - first);
    any |= other.defined();
    return other;
  };
  for (auto i = first; i < stack.size(); ++i) {
    if (!stack[i].isList()) {
      auto other = replaced(stack[i], i);
      if (other.defined()) {
        stack[i] = std::move(other);
      }
      continue;
    }
    const auto list = stack[i].toList();
    for (std::size_t j = 0; j < list.size(); ++j) {
      auto other = replaced(list.get(j), i);
      if (other.defined()) {
        auto copy = stack[i].toList().copy();
        copy.set(j, std::move(other));
        stack[i] = std::move(copy);
      }
    }
  }
  return any;
}

// Inner ones first: what a recompute has a private copy of is its own.
Tensor stand_in(const Tensor& tensor, bool writes) {
  for (auto* at = innermost_interception; at; at = at->outer()) {
    if (at->parts().watch) {
      at->parts().watch->note(tensor, writes);
    }
    if (at->parts().buffers) {
      auto other = at->parts().buffers->stand_in(tensor);
      if (other.defined()) {
        return other;
      }
    }
  }
  return Tensor();
}

Tensor original(const Tensor& tensor, std::size_t /*i*/) {
  for (auto* at = innermost_interception; at; at = at->outer()) {
    if (at->parts().buffers) {
      auto other = at->parts().buffers->original(tensor);
      if (other.defined()) {
        return other;
      }
    }
  }
  return Tensor();
}

bool looks_at_tensors() {
  for (auto* at = innermost_interception; at; at = at->outer()) {
    if (at->parts().buffers || at->parts().watch) {
      return true;
    }
  }
  return false;
}

// Runs what comes after our key.
void run(
    const c10::OperatorHandle& op, c10::DispatchKeySet keys, Stack* stack) {
  const auto below =
      keys & c10::DispatchKeySet(c10::DispatchKeySet::FULL_AFTER, kKey);
  if (!looks_at_tensors()) {
    op.redispatchBoxed(below, stack);
    return;
  }
  const auto replace = [&](std::size_t count, const auto& by) {
    const c10::impl::ExcludeDispatchKeyGuard ours(kKey);
    return replace_tensors(*stack, count, by);
  };
  const auto& schema = op.schema();
  const bool any = replace(
      schema.arguments().size(), [&](const Tensor& tensor, std::size_t i) {
        const auto* alias = schema.arguments()[i].alias_info();
        return stand_in(tensor, alias && alias->isWrite());
      });
  op.redispatchBoxed(below, stack);
  if (any) {
    // What an operator in place returns may be assigned to the buffer.
    replace(schema.returns().size(), original);
  }
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

// The recordings that see a draw, and the generators that it comes from; null:
// the default one.
struct Drawing {
  c10::SmallVector<DrawRecord*, 4> records;
  OwnGenerators* own = nullptr;

  Drawing() {
    for (auto* at = innermost_interception; at && !own; at = at->outer()) {
      if (at->parts().record) {
        records.push_back(at->parts().record);
      }
      own = at->parts().own;
    }
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
  drawing.note(device, before, after);
}

// The kernel of operators that take a generator.
void run_drawing(
    const c10::OperatorHandle& op, c10::DispatchKeySet keys, Stack* stack) {
  const auto& schema = op.schema();
  const auto arguments = top_of(*stack, schema.arguments().size());
  const auto device = device_of(arguments);
  const auto generator = default_generator(device);
  const auto position =
      stack->size() - arguments.size() + find_argument(schema, is_generator);
  const auto& given = (*stack)[position];
  const Drawing drawing;
  // A generator of the user's own is the user's.
  if (!generator.defined() || (!drawing.own && drawing.records.empty()) ||
      (given.isGenerator() && given.toGenerator() != generator)) {
    run(op, keys, stack);
    return;
  }
  draw(drawing, device, generator, [&](const at::Generator& from) {
    (*stack)[position] = from;
    run(op, keys, stack);
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

TORCH_LIBRARY_IMPL(_, DeferredInit, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&run>());
}

TORCH_LIBRARY_IMPL(aten, DeferredInit, library) {
  intercept_random_operators(library);
}

}  // namespace

Interception::Interception(const Parts& parts)
    : parts_(parts), outer_(innermost_interception) {
  if (parts.buffers && parts.buffers->empty()) {
    parts_.buffers = nullptr;
  }
  if (parts_.record || parts_.own || parts_.buffers || parts_.watch) {
    innermost_interception = this;
    key_.emplace(kKey);
  }
}

Interception::~Interception() {
  innermost_interception = outer_;
}

bool Interception::of_draws() {
  for (auto* at = innermost_interception; at; at = at->outer()) {
    if (at->parts().record || at->parts().own) {
      return true;
    }
  }
  return false;
}

}  // namespace detail
}  // namespace torchrev
