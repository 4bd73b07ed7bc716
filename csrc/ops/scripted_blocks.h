#pragma once

#include <torch/csrc/jit/api/module.h>
#include <torchrev/branch.h>

#include <vector>

// The blocks of an operator's call, from TorchScript modules. What is missing,
// or has a forward that cannot be called, is an error that names the item, for
// example `blocks[1].f`.

namespace torchrev {
namespace detail {

BranchPair scripted_block(
    const char* entry,
    const torch::jit::Module& f,
    const torch::jit::Module& g,
    at::TensorList context);

// `blocks`: a ModuleList whose items have submodules `f` and `g`.
std::vector<BranchPair> scripted_blocks(
    const char* entry,
    const torch::jit::Module& blocks,
    at::TensorList context);

}  // namespace detail
}  // namespace torchrev
