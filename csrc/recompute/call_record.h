#pragma once

#include <ATen/core/Tensor.h>
#include <torchrev/branch.h>

#include <memory>
#include <vector>

#include "check.h"
#include "recompute/autocast_state.h"
#include "recompute/branch_state.h"
#include "recompute/random_state.h"
#include "recompute/remember_scope.h"

namespace torchrev {
namespace detail {

// How a call is recorded; see ReversibleOptions.
struct RecordOptions {
  bool preserve_rng_state = true;
  bool verify_constant_buffers = false;
};

// What a call of a branch saw: random numbers, autocast, buffers, train / eval
// flags and other attributes, and the decisions that it asked to remember.
// Replay runs the branch again with all of them.
class CallRecord {
 public:
  // Notes the surroundings of the call of `branch` with `x` that follows.
  CallRecord(
      const Branch& branch, const Tensor& x, const RecordOptions& options);

  // Runs the branch for the first time.
  Tensor run(
      const Place& place,
      const Tensor& x,
      at::TensorList context,
      at::TensorList parameters);

 private:
  friend class Replay;

  void check_constants(const Place& place);

  Branch branch_;
  bool preserve_rng_;
  std::vector<c10::Device> devices_;
  // Before the call; null if the call drew nothing.
  std::unique_ptr<RandomState> random_;
  AutocastState autocast_;
  BranchState state_;
  BufferCopies constants_;
  Decisions decisions_;
};

}  // namespace detail
}  // namespace torchrev
