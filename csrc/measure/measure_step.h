#pragma once

#include <cstdint>
#include <vector>

#include "measure/isolated_run.h"

// Measures the bytes of a training step by running it.

namespace torchrev {
namespace detail {

// See Plan.
struct StepBytes {
  int64_t retained;
  int64_t peak;
};

// The bytes of a step of `run`: of its forward alone where nothing requires
// grad. Reads the tensors of the run and leaves no trace, see IsolatedRun.
//
// NOTE [Measured step]
// Forward gets aliases of the inputs, and the edges into parameters end in
// sinks that drop their gradients, so that the bytes are those of a step into
// existing `.grad`s. The output and its gradient are held until backward ends,
// as in `auto y = stack->forward(x); y.backward(gradient);`: a caller who lets
// them go sooner needs less.
//
// Throws c10::ValueError if the allocator of the device does not report.
StepBytes measure_step(const StackRun& run);

// The bytes of a step of each block by itself, in plain autograd, over the
// streams that reach it.
std::vector<StepBytes> measure_blocks(const StackRun& run);

}  // namespace detail
}  // namespace torchrev
