#include "stack/transforms.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/forward_grad.h>

#include <algorithm>
#include <string>

#include "branch/script_callable.h"
#include "check.h"
#include "compat.h"

namespace torchrev {
namespace detail {

namespace {

using c10::DispatchKey;

// What was found, for a message; `expected` is null if there is nothing.
struct Finding {
  const char* expected = nullptr;
  std::string got;
  // Whether it is a transform, which computes more than values.
  bool transform = false;
};

constexpr auto kNoDuals = "no tangents of forward-mode differentiation";
constexpr auto kNoWrappers =
    "no transform of torch.func or vmap (grad, vjp, jvp, functionalize)";
constexpr auto kNoFakes = "tensors that have values, or meta tensors";

const c10::DispatchKeySet kWrappers{
    DispatchKey::FuncTorchBatched,
    DispatchKey::FuncTorchGradWrapper,
    DispatchKey::Functionalize,
    DispatchKey::Batched};

bool is_wrapped(const Tensor& tensor) {
  return tensor.key_set().has_any(kWrappers);
}

// A FakeTensor has the device that it stands for, over storage of meta.
bool is_fake(const Tensor& tensor) {
  return tensor.key_set().has(DispatchKey::Python) && tensor.has_storage() &&
         tensor.storage().device_type() == c10::DeviceType::Meta &&
         !tensor.is_meta();
}

// Levels are one for the process; there is one level yet.
bool duals_exist() {
  return torch::autograd::ForwardADLevel::try_get_by_idx(0) != nullptr;
}

bool is_dual(const Tensor& tensor) {
  return tensor._fw_grad(/*level=*/0).defined();
}

Finding find_in(const std::string& name, const Tensor& tensor, bool duals) {
  if (!tensor.defined()) {
    return {};
  }
  if (is_wrapped(tensor)) {
    return {kNoWrappers, name + ", which one has wrapped", true};
  }
  if (is_fake(tensor)) {
    return {kNoFakes, name + ", a FakeTensor"};
  }
  if (duals && is_dual(tensor)) {
    return {kNoDuals, name + ", a dual tensor", true};
  }
  return {};
}

// What can hide in parameters and buffers. They are looked at only while a
// transform is active, since a walk over all of them has its price.
Finding find_in_branches(const Stack& stack, bool duals, bool transform) {
  for (int64_t i = 0; i < stack.depth(); ++i) {
    const auto& block = stack.blocks[i];
    for (const auto role : {Role::kF, Role::kG}) {
      const auto& branch = role == Role::kF ? block.f : block.g;
      for (const auto& list : {branch.parameters(), branch.buffers()}) {
        for (const auto& tensor : list) {
          const auto name =
              c10::str("a parameter or buffer of ", StepId{i, role});
          auto found = find_in(name, tensor, duals);
          if (found.expected) {
            return found;
          }
          if (transform && tensor.requires_grad()) {
            return {kNoWrappers, name + " that requires grad in one", true};
          }
        }
      }
    }
  }
  return {};
}

Finding find(const Stack& stack, std::initializer_list<Input> inputs) {
  const bool duals = duals_exist();
  for (const auto& input : inputs) {
    auto found = find_in(c10::str('`', input.name, '`'), input.tensor, duals);
    if (found.expected) {
      return found;
    }
  }
  for (std::size_t i = 0; i < stack.context.size(); ++i) {
    auto found =
        find_in(c10::str("context tensor ", i), stack.context[i], duals);
    if (found.expected) {
      return found;
    }
  }
  if (compat::is_fake_mode()) {
    return {kNoFakes, "a call under FakeTensorMode"};
  }
  if (compat::is_tracing() && inputs.begin()->tensor.requires_grad()) {
    return {kNoFakes, "a call that make_fx traces with its gradient"};
  }
  const bool transform = compat::is_in_transform();
  return duals || transform ? find_in_branches(stack, duals, transform)
                            : Finding();
}

void refuse(
    const Stack& stack, const Finding& found, const std::string& way_out) {
  TORCHREV_CHECK(
      NotImplementedError,
      false,
      stack.entry,
      found.expected,
      found.got,
      way_out);
}

bool has_script(const Stack& stack) {
  return std::any_of(
      stack.blocks.begin(), stack.blocks.end(), [](const BranchPair& block) {
        return is_script(block.f.callable()) || is_script(block.g.callable());
      });
}

// What cannot run under a transform in plain autograd either: TorchScript,
// whose own graphs lose tangents as soon as a parameter requires grad, and our
// rounding to a grid, an autograd function without a rule for it.
void check_bears_transforms(const Stack& stack, const Finding& found) {
  if (has_script(stack)) {
    refuse(
        stack,
        found,
        "TorchScript loses what a transform computes: differentiate with "
        "torch.autograd, or run the formula, y1 = x1 + F(x2), over modules "
        "that are not scripted.");
  }
  if (stack.options.fraction_bits()) {
    refuse(stack, found, "Leave option `fraction_bits` out.");
  }
}

}  // namespace

bool check_transforms(const Stack& stack, std::initializer_list<Input> inputs) {
  const auto found = find(stack, inputs);
  if (!found.expected) {
    return false;
  }
  if (found.transform) {
    check_bears_transforms(stack, found);
  }
  const bool kept = stack.stored() == stack.depth();
  if (!kept && at::GradMode::is_enabled()) {
    refuse(
        stack,
        found,
        c10::str(
            "Streams are rebuilt in backward: differentiate with "
            "torch.autograd, or keep the activations of all blocks, with "
            "option `store_last` = ",
            stack.depth(),
            "."));
  }
  return !kept;
}

void check_no_transforms(
    const Stack& stack, std::initializer_list<Input> inputs) {
  const auto found = find(stack, inputs);
  if (found.expected) {
    refuse(stack, found, "Invert by the formula, x2 = y2 - G(y1).");
  }
}

Stack kept_whole(Stack stack) {
  stack.options.store_last(stack.depth());
  return stack;
}

}  // namespace detail
}  // namespace torchrev
