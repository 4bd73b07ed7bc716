#pragma once

#include <ATen/core/Tensor.h>
#include <torchrev/branch.h>
#include <torchrev/options.h>

#include <functional>
#include <vector>

// Measures the bytes of a training step by running it.

namespace torchrev {
namespace detail {

// A call of a stack: reversible_residual of one tensor, or reversible_sequence
// of two streams. Refers to blocks and context of the caller's.
struct StackCall {
  at::ArrayRef<BranchPair> blocks;
  std::vector<Tensor> x;
  at::TensorList context;
  ReversibleOptions options;

  int64_t depth() const {
    return static_cast<int64_t>(blocks.size());
  }
};

// See Plan.
struct StepBytes {
  int64_t retained;
  int64_t peak;
};

// The bytes of a step of `call`: of its forward alone where nothing requires
// grad. Reads the tensors of the call and leaves no trace: no `.grad` is
// written, no hook of a parameter runs, buffers, attributes and generators are
// afterwards as before.
//
// NOTE [Measured step]
// Forward gets aliases of the inputs, and the edges into parameters end in
// sinks that drop their gradients, so that the bytes are those of a step into
// existing `.grad`s. The output and its gradient are held until backward ends,
// as in `auto y = stack->forward(x); y.backward(gradient);`: a caller who lets
// them go sooner needs less.
//
// Throws c10::ValueError if the allocator of the device does not report.
StepBytes measure_step(const StackCall& call);

// x1 and x2 of `call`.
std::vector<Tensor> streams_of(const StackCall& call);

// The gradients of `run(call)`'s results, weighted by fixed numbers, for the
// parameters that require grad, block by block. Leaves no trace, as above.
using Run = std::function<std::vector<Tensor>(const StackCall&)>;
std::vector<std::vector<Tensor>> gradients_of_blocks(
    const StackCall& call, const Run& run);

// The bytes of a step of each block by itself, in plain autograd, over the
// streams that reach it.
std::vector<StepBytes> measure_blocks(const StackCall& call);

}  // namespace detail
}  // namespace torchrev
