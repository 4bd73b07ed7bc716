#pragma once

#include <torch/csrc/jit/api/module.h>
#include <torchrev/branch.h>

#include <memory>
#include <vector>

namespace torchrev {
namespace detail {

// A TorchScript module as a branch.
std::shared_ptr<Callable> make_script_callable(torch::jit::Module module);
bool is_script(const Callable& callable);

// The TorchScript module that `module`, made by such a branch, stands for; null
// for any other module.
const torch::jit::Module* script_of(const torch::nn::Module& module);

// What its slots hold, but for modules, parents first.
std::vector<Tensor> parameters_of(const torch::jit::Module& module);
std::vector<Tensor> buffers_of(const torch::jit::Module& module);
std::vector<c10::IValue> slots_of(const torch::jit::Module& module);
// Writes to them what slots_of() gave, from `value` on, and moves it past that.
void set_slots(
    const torch::jit::Module& module,
    std::vector<c10::IValue>::const_iterator& value);

}  // namespace detail
}  // namespace torchrev
