#include "recompute/interception.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

#include "recompute/generator_moves.h"
#include "recompute/interception_kernels.h"

namespace torchrev {
namespace detail {

namespace {

thread_local const Interception* innermost_interception = nullptr;

// Calls `replace(tensor, i)` for each tensor of the last `count` values of the
// stack, i the number of the value, those in lists included; puts what it
// returns in its place if that is defined. Returns whether it did.
template <typename Replace>
bool replace_tensors(
    torch::jit::Stack& stack, std::size_t count, const Replace& replace) {
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
        stack[i] = copy;
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
    auto alias = at->alias_of(tensor);
    if (alias.defined()) {
      return alias;
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

void update_shown_buffers() {
  for (auto* at = innermost_interception; at; at = at->outer()) {
    if (at->parts().buffers) {
      at->parts().buffers->update_shown();
    }
  }
}

// Whether `holds` for any interception of this thread.
template <typename Holds>
bool holds_for_any(const Holds& holds) {
  auto* at = innermost_interception;
  while (at && !holds(*at)) {
    at = at->outer();
  }
  return at;
}

// Whether an operator writes to its argument `i`. Schemas of batch norms do not
// say that they write their running statistics in training.
bool writes(
    const c10::FunctionSchema& schema,
    at::ArrayRef<c10::IValue> arguments,
    std::size_t i) {
  const auto& argument = schema.arguments()[i];
  if (const auto* alias = argument.alias_info()) {
    return alias->isWrite();
  }
  if (argument.name() != "running_mean" && argument.name() != "running_var") {
    return false;
  }
  for (std::size_t j = 0; j < arguments.size(); ++j) {
    const auto& name = schema.arguments()[j].name();
    if (name == "training" || name == "use_input_stats") {
      return arguments[j].toBool();
    }
  }
  return true;
}

bool looks_at_tensors() {
  return holds_for_any([](const Interception& interception) {
    return interception.sees_tensors();
  });
}

TORCH_LIBRARY_IMPL(_, DeferredInit, library) {
  library.fallback(
      torch::CppFunction::makeFromBoxedFunction<&run_intercepted>());
}

}  // namespace

void run_intercepted(
    const c10::OperatorHandle& op,
    c10::DispatchKeySet keys,
    torch::jit::Stack* stack) {
  const auto below =
      keys &
      c10::DispatchKeySet(c10::DispatchKeySet::FULL_AFTER, kInterceptionKey);
  if (!looks_at_tensors()) {
    op.redispatchBoxed(below, stack);
    return;
  }
  const auto replace = [&](std::size_t count, const auto& by) {
    const c10::impl::ExcludeDispatchKeyGuard ours(kInterceptionKey);
    return replace_tensors(*stack, count, by);
  };
  const auto& schema = op.schema();
  const auto count = schema.arguments().size();
  const bool any = replace(count, [&](const Tensor& tensor, std::size_t i) {
    const auto arguments = torch::jit::last(*stack, count);
    return stand_in(tensor, writes(schema, arguments, i));
  });
  op.redispatchBoxed(below, stack);
  if (any) {
    // What an operator in place returns may be assigned to the buffer.
    replace(schema.returns().size(), original);
    const c10::impl::ExcludeDispatchKeyGuard ours(kInterceptionKey);
    update_shown_buffers();
  }
}

Interception::Interception(const Parts& parts)
    : parts_(parts),
      tells_of_draws_(other_threads_draw()),
      outer_(innermost_interception) {
  if (parts.buffers && parts.buffers->empty()) {
    parts_.buffers = nullptr;
  }
  if (sees_draws() || sees_tensors()) {
    innermost_interception = this;
    key_.emplace(kInterceptionKey);
  }
}

Interception::~Interception() {
  innermost_interception = outer_;
}

Tensor Interception::alias_of(const Tensor& tensor) const {
  for (std::size_t i = 0; parts_.parameters && i < parts_.aliases.size(); ++i) {
    if ((*parts_.parameters)[i].is_same(tensor)) {
      return parts_.aliases[i];
    }
  }
  return Tensor();
}

const Interception* Interception::innermost() {
  return innermost_interception;
}

bool Interception::of_draws() {
  return holds_for_any([](const auto& at) { return at.sees_draws(); });
}

bool Interception::of_own_draws() {
  return holds_for_any([](const auto& at) { return at.parts().own; });
}

}  // namespace detail
}  // namespace torchrev
