#pragma once

#include "program.h"
#include "support/support.h"

/// Branches of every Kind.

namespace torchrev {
namespace test {
namespace differential {

/// A branch, and the leaves that it is made from besides its parameters.
struct BuiltBranch {
  Branch branch;
  std::vector<Tensor> leaves;
};

/// Draws the initial parameters from torch's generator.
BuiltBranch build_branch(const StackSpec& stack, const BranchSpec& spec);

/// The TorchScript kinds.
torch::jit::Module build_script(const StackSpec& stack, const BranchSpec& spec);
/// A script with state of later kinds.
torch::jit::Module build_later_script(
    const StackSpec& stack, const BranchSpec& spec);
/// A weight and a train / eval flag, without a forward.
torch::jit::Module plain_script(const StackSpec& stack);

/// A parameter for each element of a sample.
Tensor sample_weight(const StackSpec& stack);
int64_t channels(const StackSpec& stack);

}  // namespace differential
}  // namespace test
}  // namespace torchrev
