#pragma once

#include <ATen/core/Tensor.h>
#include <torchrev/options.h>

#include <array>
#include <vector>

#include "arithmetic.h"
#include "check.h"
#include "in_place.h"
#include "relay.h"

// What a reversible call knows before its first step.

namespace torchrev {
namespace detail {

// What the steps of one call share.
struct Call {
  const char* entry;
  ReversibleOptions options;
  Arithmetic arithmetic;
  // Strides of stream 1 and of stream 2, in forward and when rebuilt: a branch
  // that views its input sees the same layout in the recompute.
  std::array<std::vector<int64_t>, 2> strides;
  Relay relay;

  // `x`: the streams.
  Call(
      const char* entry,
      const ReversibleOptions& options,
      const Arithmetic& arithmetic,
      const StreamPair& x);
};

// What `run()` returns for the input `x`, checked: a branch gives a value of
// `sizes`, keeps dtype and device, and leaves its input alone.
template <typename Run>
Tensor checked_branch(
    const Place& place,
    const Tensor& x,
    at::IntArrayRef sizes,
    const Run& run) {
  const auto version = version_of(x);
  Tensor value = run();
  check_input_unchanged(place, version == version_of(x));
  check_branch_output(place, x, sizes, value);
  return value;
}

}  // namespace detail
}  // namespace torchrev
