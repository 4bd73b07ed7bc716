#pragma once

#include <ATen/core/Tensor.h>

#include <mutex>

#include "recompute/call_record.h"

namespace torchrev {
namespace detail {

// One more run of a recorded call. While a Replay lives, buffers and attributes
// of the branch are those of the recorded forward, since the local gradient may
// read them; afterwards they are as if there had been no recompute.
class Replay {
 public:
  explicit Replay(const CallRecord& record);
  ~Replay();
  Replay(const Replay&) = delete;
  Replay& operator=(const Replay&) = delete;

  Tensor operator()(
      const Tensor& x, at::TensorList context, at::TensorList parameters);

 private:
  const CallRecord& record_;
  std::unique_lock<std::recursive_mutex> lock_;
  BranchState before_;
};

}  // namespace detail
}  // namespace torchrev
