#pragma once

#include <ATen/core/Tensor.h>

#include <initializer_list>

#include "stack/stack.h"

// Tensors that stand for more than their values: the duals of forward-mode
// differentiation, what torch.func and vmap wrap, and fake tensors, which have
// no values. What a transform adds to a tensor would be lost, or wrong, in a
// stack that runs without a graph and again in backward.

namespace torchrev {
namespace detail {

struct Input {
  const char* name;
  const Tensor& tensor;
};

// Throws for such a call of `stack`, whose blocks are rebuilt in backward. In a
// call that keeps its blocks, or has no backward, plain autograd does the work:
// true if a stack that does not keep them is to be run as kept_whole().
bool check_transforms(const Stack& stack, std::initializer_list<Input> inputs);

// Throws for such a call of an inverse.
void check_no_transforms(
    const Stack& stack, std::initializer_list<Input> inputs);

// The same stack, all of whose blocks run in plain autograd.
Stack kept_whole(Stack stack);

}  // namespace detail
}  // namespace torchrev
