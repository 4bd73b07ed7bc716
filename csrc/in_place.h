#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

// Arithmetic without a graph, in the storage of an operand that nobody else
// holds where there is one.

namespace torchrev {
namespace detail {

using at::Tensor;

// How often `tensor` was written to.
uint32_t version_of(const Tensor& tensor);

// The strides of a dense tensor that orders its dimensions as `x` does: what
// x + f(x) has, too.
std::vector<int64_t> layout_of(const Tensor& x);

// Whether `tensor` is the only handle of a storage of its own size, so that
// its values can be overwritten.
bool is_owned(const Tensor& tensor);

// Whether the values of `x` can be replaced by others of its dtype that have
// `strides`.
bool is_reusable(const Tensor& x, at::IntArrayRef strides);

// x + value, and x - value, of dtype and device of `x`.
Tensor sum(const Tensor& x, Tensor value, at::IntArrayRef strides);
Tensor difference(Tensor x, Tensor value, at::IntArrayRef strides);

// sum + gradient.
Tensor accumulate(Tensor sum, const Tensor& gradient);

}  // namespace detail
}  // namespace torchrev
