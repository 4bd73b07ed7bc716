#pragma once

#include "branches.h"

/// Branches that are made of stacks.

namespace torchrev {
namespace test {
namespace differential {

/// Of a kind whose traits have `stack`, but for kScriptStack.
Branch build_stack_branch(const StackSpec& around, const BranchSpec& spec);

/// The parameters that `spec` freezes no longer require grad.
void freeze(const BranchSpec& spec, const Branch& branch);

}  // namespace differential
}  // namespace test
}  // namespace torchrev
