#pragma once

#include <ATen/core/Tensor.h>
#include <torchrev/branch.h>
#include <torchrev/options.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "check.h"
#include "relay.h"

// The autograd nodes of a reversible call.
//
// Block i is two steps, 2 i (F) and 2 i + 1 (G), of one form:
//   out = addend + branch(other)
//   y1 = step(x1, x2; F),   y2 = step(x2, y1; G).
// A step saves nothing. The end of the call saves the last pair y1, y2; in
// backward it leaves the pair in the relay, from which each step takes it, and
// puts back the pair that was there before the step:
//   addend = out - branch(other).

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

// "F of block 3" for step 6.
std::string step_name(int64_t step);

uint32_t version_of(const Tensor& tensor);

// What `run()` returns for the stream `other`, checked: a branch keeps shape,
// dtype and device, and leaves its input alone.
template <typename Run>
Tensor checked_branch(
    const char* entry, int64_t step, const Tensor& other, const Run& run) {
  const auto version = version_of(other);
  Tensor value = run();
  check_input_unchanged(entry, step_name(step), version == version_of(other));
  check_branch_output(entry, step_name(step), other, value);
  return value;
}

// out = addend + branch(other), without a graph; both reuse the storage of an
// operand that nobody else holds. `sum` gives x + value, `difference` x -
// value.
Tensor sum(const Tensor& x, Tensor value, at::IntArrayRef strides);
Tensor difference(Tensor x, Tensor value, at::IntArrayRef strides);

// One step, with a node in the graph if anything requires grad.
Tensor apply_step(
    const std::shared_ptr<Call>& call,
    const Branch& branch,
    int64_t step,
    const Tensor& addend,
    const Tensor& other,
    at::TensorList context);

// The end of a call of `steps` steps: y1 and y2 as they are.
StreamPair apply_end(
    const std::shared_ptr<Call>& call, int64_t steps, const StreamPair& y);

// The end of a call of `steps` steps: y1 and y2 side by side along `dim`.
Tensor apply_merging_end(
    const std::shared_ptr<Call>& call,
    int64_t steps,
    const StreamPair& y,
    int64_t dim);

}  // namespace detail
}  // namespace torchrev
