#pragma once

#include <torch/csrc/jit/api/module.h>
#include <torchrev/branch.h>

#include <memory>

namespace torchrev {
namespace detail {

// A TorchScript module as a branch.
std::shared_ptr<Callable> make_script_callable(torch::jit::Module module);
bool is_script(const Callable& callable);

}  // namespace detail
}  // namespace torchrev
