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
BuiltBranch build_branch(const Program& program, const BranchSpec& spec);

/// The TorchScript kinds.
torch::jit::Module build_script(const Program& program, const BranchSpec& spec);

/// A parameter for each element of a sample.
Tensor sample_weight(const Program& program);
int64_t channels(const Program& program);

}  // namespace differential
}  // namespace test
}  // namespace torchrev
