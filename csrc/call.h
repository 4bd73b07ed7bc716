#pragma once

#include <ATen/core/Tensor.h>
#include <torchrev/options.h>

#include <array>
#include <vector>

#include "check.h"
#include "relay.h"

// What a reversible call knows before its first step, and the arithmetic of
// streams.

namespace torchrev {
namespace detail {

// What the steps of one call share.
struct Call {
  const char* entry;
  ReversibleOptions options;
  // Strides of stream 1 and of stream 2, in forward and when rebuilt: a branch
  // that views its input sees the same layout in the recompute.
  std::array<std::vector<int64_t>, 2> strides;
  Relay relay;

  Call(
      const char* entry,
      const ReversibleOptions& options,
      const Tensor& x1,
      const Tensor& x2);
};

uint32_t version_of(const Tensor& tensor);

// What `run()` returns for the stream `other`, checked: a branch keeps shape,
// dtype and device, and leaves its input alone.
template <typename Run>
Tensor checked_branch(const Place& place, const Tensor& other, const Run& run) {
  const auto version = version_of(other);
  Tensor value = run();
  check_input_unchanged(place, version == version_of(other));
  check_branch_output(place, other, value);
  return value;
}

// out = addend + branch(other), without a graph; both reuse the storage of an
// operand that nobody else holds. `sum` gives x + value, `difference` x -
// value.
Tensor sum(const Tensor& x, Tensor value, at::IntArrayRef strides);
Tensor difference(Tensor x, Tensor value, at::IntArrayRef strides);

// sum + gradient, in the storage of `sum` if nobody else holds it.
Tensor accumulate(Tensor sum, const Tensor& gradient);

}  // namespace detail
}  // namespace torchrev
