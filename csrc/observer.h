#pragma once

#include <ATen/core/Tensor.h>
#include <torchrev/branch.h>
#include <torchrev/options.h>

#include <array>
#include <memory>

namespace torchrev {
namespace detail {

using at::Tensor;

// The two streams of a stack between two steps.
using StreamPair = std::array<Tensor, 2>;

// Sees the streams of a call before each of its blocks and at its end in
// forward, where they may have a graph, and before each step as they are
// rebuilt in backward. May be called from the threads of several backward
// passes.
class StreamObserver {
 public:
  virtual ~StreamObserver() = default;
  virtual void in_forward(int64_t step, const StreamPair& pair) = 0;
  virtual void rebuilt(int64_t step, const StreamPair& pair) = 0;
};

// reversible_sequence, seen by `observer` in place of the drift guard.
StreamPair run_observed(
    at::ArrayRef<BranchPair> blocks,
    const StreamPair& x,
    at::TensorList context,
    const ReversibleOptions& options,
    std::shared_ptr<StreamObserver> observer);

}  // namespace detail
}  // namespace torchrev
