#pragma once

#include <ATen/core/Tensor.h>

#include "branch/in_branch.h"
#include "check.h"
#include "tensors.h"

namespace torchrev {
namespace detail {

// What `call()`, a forward run of a branch, returns for the input `x`, checked:
// a branch gives a value of `sizes`, keeps dtype and device, and leaves its
// input alone.
template <typename Call>
Tensor checked_call(
    const Place& place,
    const Tensor& x,
    at::IntArrayRef sizes,
    const Call& call) {
  const auto version = version_of(x);
  Tensor value = in_branch(place, call);
  check_input_unchanged(place, version == version_of(x));
  check_branch_output(place, x, sizes, value);
  return value;
}

}  // namespace detail
}  // namespace torchrev
