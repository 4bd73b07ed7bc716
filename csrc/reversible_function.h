#pragma once

#include <ATen/core/Tensor.h>
#include <torchrev/branch.h>

#include <memory>

#include "call.h"

// The autograd nodes of a reversible call.
//
// Block i of a stack is two steps, 2 i (F) and 2 i + 1 (G), of one form:
//   out = addend + branch(other)
//   y1 = step(x1, x2; F),   y2 = step(x2, y1; G).
// A step saves nothing. The end of the call saves the last pair y1, y2; in
// backward it leaves the pair in the relay, from which each step takes it, and
// puts back the pair that was there before the step:
//   addend = out - branch(other).

namespace torchrev {
namespace detail {

// One step, with a node in the graph if anything requires grad.
Tensor apply_step(
    const std::shared_ptr<Call>& call,
    const Branch& branch,
    int64_t index,
    const Tensor& addend,
    const Tensor& other,
    at::TensorList context);

// The end of a call whose last step is `step`: y1 and y2 as they are.
StreamPair apply_end(
    const std::shared_ptr<Call>& call, int64_t step, const StreamPair& y);

// The end of a call whose last step is `step`: y1 and y2 side by side along
// `dim`.
Tensor apply_merging_end(
    const std::shared_ptr<Call>& call,
    int64_t step,
    const StreamPair& y,
    int64_t dim);

}  // namespace detail
}  // namespace torchrev
