#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

// Questions that several rooms ask of a tensor.

namespace torchrev {
namespace detail {

using at::Tensor;

// How often `tensor` was written to. (Inference tensors do not count.)
uint32_t version_of(const Tensor& tensor);

// The strides of a dense tensor that orders its dimensions as `x` does: what
// x + f(x) has, too.
std::vector<int64_t> layout_of(const Tensor& x);

// Whether `tensor` is the only handle of a storage of its own size, so that
// its values can be overwritten without anybody noticing.
bool is_owned(const Tensor& tensor);

// Whether a stream can be of this dtype: floating point, and not one of eight
// bits, which LibTorch stores and does not add.
bool is_stream_dtype(at::ScalarType dtype);

// Bits of the fraction of a floating point number.
int64_t mantissa_bits(at::ScalarType dtype);

}  // namespace detail
}  // namespace torchrev
