#pragma once

#include <ATen/core/Tensor.h>
#include <torchrev/branch.h>
#include <torchrev/options.h>

#include <algorithm>
#include <memory>

#include "arithmetic.h"
#include "observer.h"

// Runs a stack of blocks: in calls that keep one pair of streams each, and in
// plain autograd where activations are kept.

namespace torchrev {
namespace detail {

// What all that runs over a stack needs.
struct Stack {
  const char* entry;
  at::ArrayRef<BranchPair> blocks;
  at::TensorList context;
  const ReversibleOptions& options;
  // Instead of the drift guard.
  std::shared_ptr<StreamObserver> observer = nullptr;

  int64_t depth() const {
    return static_cast<int64_t>(blocks.size());
  }
  int64_t stored() const {
    return std::min(options.store_last(), depth());
  }
};

// The streams after the stack, from the streams before it.
StreamPair run_streams(
    const Stack& stack, const Arithmetic& arithmetic, StreamPair x);

// The same of the halves of `x` along `dim`, side by side again.
Tensor run_merged(const Stack& stack, const Tensor& x, int64_t dim);

// The streams before the stack, from those after it; without a graph.
StreamPair invert(const Stack& stack, const Tensor& y1, const Tensor& y2);

}  // namespace detail
}  // namespace torchrev
