#pragma once

#include <ATen/core/Tensor.h>

// Arithmetic without a graph, in the storage of an operand that nobody else
// holds where there is one.

namespace torchrev {
namespace detail {

using at::Tensor;

// Whether the values of `x` can be replaced by others of its dtype that have
// `strides`.
bool is_reusable(const Tensor& x, at::IntArrayRef strides);

// x + value, and x - value, of dtype and device of `x`.
Tensor sum(Tensor x, Tensor value, at::IntArrayRef strides);
Tensor difference(Tensor x, Tensor value, at::IntArrayRef strides);

}  // namespace detail
}  // namespace torchrev
