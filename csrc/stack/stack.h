#pragma once

#include <ATen/core/Tensor.h>
#include <torchrev/branch.h>
#include <torchrev/options.h>

#include <algorithm>
#include <memory>

#include "guards/stream_observer.h"
#include "streams/arithmetic.h"
#include "streams/direction.h"
#include "streams/stream_pair.h"

// Runs a stack of blocks, forward or the other way: in segments that keep one
// pair of streams each, and in plain autograd where activations are kept.

namespace torchrev {
namespace detail {

// What is run over: blocks, their context, and how. Refers to blocks and
// context of the caller's.
struct Stack {
  const char* entry;
  at::ArrayRef<BranchPair> blocks;
  at::TensorList context;
  ReversibleOptions options;
  // Instead of the drift guard.
  std::shared_ptr<StreamObserver> observer = nullptr;
  // The inverse is the stack run the other way.
  Direction direction = Direction::kForward;

  int64_t depth() const {
    return static_cast<int64_t>(blocks.size());
  }
  // The blocks that keep their activations, the last ones.
  int64_t stored() const {
    return std::min(options.store_last(), depth());
  }
};

// How `stack` computes, for `x`, an input of the call.
Arithmetic arithmetic_of(const Stack& stack, const Tensor& x);

// The streams after the stack, from those before it; the other way round in
// the inverse.
StreamPair run_streams(
    const Stack& stack, const Arithmetic& arithmetic, StreamPair x);

// The same of the halves of `x` along `dim`, side by side again.
Tensor run_merged(const Stack& stack, const Tensor& x, int64_t dim);

}  // namespace detail
}  // namespace torchrev
