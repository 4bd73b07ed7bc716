#pragma once

#include <ATen/core/Tensor.h>
#include <torchrev/branch.h>

#include "recompute/branch_state.h"
#include "recompute/random_state.h"

namespace torchrev {
namespace detail {

// While a NoTrace lives, runs of the branch leave none: buffers, attributes and
// generators are afterwards as before.
//
// A NoTrace holds no lock: a backward among the runs may be executed by another
// thread of the engine, whose recomputes take turns with everybody else's.
class NoTrace {
 public:
  NoTrace(const Branch& branch, const Tensor& x);
  ~NoTrace();
  NoTrace(const NoTrace&) = delete;
  NoTrace& operator=(const NoTrace&) = delete;

 private:
  Branch branch_;
  BranchState state_;
  RandomState random_;
};

}  // namespace detail
}  // namespace torchrev
