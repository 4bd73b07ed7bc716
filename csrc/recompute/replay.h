#pragma once

#include <ATen/core/Tensor.h>

#include <mutex>

#include "recompute/branch_state.h"
#include "recompute/call_record.h"
#include "recompute/parameter_writes.h"
#include "recompute/restore.h"

namespace torchrev {
namespace detail {

// One more run of a recorded call. While a Replay lives, buffers and attributes
// of the branch are those of the recorded forward, since the local gradient may
// read them; afterwards they, and its parameters, are as if there had been no
// recompute.
class Replay {
 public:
  // Throws c10::ValueError if a buffer that counts as unchanged was changed.
  explicit Replay(const CallRecord& record);
  Replay(const Replay&) = delete;
  Replay& operator=(const Replay&) = delete;

  Tensor operator()(
      const Tensor& x, at::TensorList context, at::TensorList parameters);

  // Lets the next run compare the generators afterwards with `end`, what they
  // were after the call.
  void expect_end(const RandomState& end) {
    end_ = &end;
  }
  // Whether the run drew other numbers than the call: another thread drew
  // between, or nothing is put back of the generators.
  bool drew_otherwise() const {
    return drew_otherwise_;
  }

 private:
  // What the replay puts back, also where it throws.
  struct Found {
    const Branch* branch;
    BranchState state;
    ParameterWrites parameters;

    void restore() const;
  };
  // `now`: the attributes of the branch.
  Replay(const CallRecord& record, Attributes now);
  static std::unique_lock<std::recursive_mutex> lock_for(
      const CallRecord& record, bool changed);

  const CallRecord& record_;
  // Whether attributes are not those of the call.
  bool changed_;
  std::unique_lock<std::recursive_mutex> lock_;
  Restore<Found> found_;
  const RandomState* end_ = nullptr;
  bool drew_otherwise_ = false;
};

}  // namespace detail
}  // namespace torchrev
