#pragma once

#include <torch/csrc/jit/api/module.h>

#include <vector>

namespace torchrev {
namespace detail {

using at::Tensor;

// What the slots of a TorchScript module hold, but for modules, parents first.
std::vector<Tensor> parameters_of(const torch::jit::Module& module);
std::vector<Tensor> buffers_of(const torch::jit::Module& module);
std::vector<c10::IValue> slots_of(const torch::jit::Module& module);
// Writes to them what slots_of() gave, from `value` on, and moves it past that.
void set_slots(
    const torch::jit::Module& module,
    std::vector<c10::IValue>::const_iterator& value);

// A module of the same type and with the same methods whose slots hold
// `values`, in that order; it shares nothing with `module` that can be
// assigned.
torch::jit::Module copy_with_slots(
    const torch::jit::Module& module, const std::vector<c10::IValue>& values);

}  // namespace detail
}  // namespace torchrev
