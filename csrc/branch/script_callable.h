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

}  // namespace detail
}  // namespace torchrev
