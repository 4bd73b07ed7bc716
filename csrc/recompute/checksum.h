#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace torchrev {
namespace detail {

// Whether checksum() takes the tensor: dense, in the memory of the CPU.
bool has_checksum(const at::Tensor& tensor);

// A number that changes when a byte of `tensor` changes, but for a chance of
// 2^-64. Reads the memory once, in 0.1 ms a MiB.
uint64_t checksum(const at::Tensor& tensor);

}  // namespace detail
}  // namespace torchrev
