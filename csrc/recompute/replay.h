#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "device/shared_writes.h"
#include "recompute/branch_state.h"
#include "recompute/call_record.h"
#include "recompute/draws.h"
#include "recompute/parameter_writes.h"
#include "recompute/private_buffers.h"
#include "recompute/restore.h"
#include "recompute/turn.h"

namespace torchrev {
namespace detail {

// One more run of a recorded call. It reads and writes random numbers, buffers
// and TorchScript attributes of its own, which are those of the recorded
// forward: see NOTE [Interception].
//
// NOTE [Shared state]
// What is not reached by operators (a generator that is asked by itself, a
// buffer that is written through a pointer, the size of one that forward
// resized, a train / eval flag of a C++ module) is set where everybody sees it,
// and put back after the run: recomputes of several threads take turns. Buffers
// that are written through a pointer are those of the forward while the Replay
// lives, since the local gradient may read them.
class Replay {
 public:
  // Which state that is one for all threads a replay sets.
  struct Shares {
    bool draws;
    bool buffers;
  };
  // Throws c10::ValueError if a buffer that counts as unchanged was changed.
  // Without `shares`, what is known of the branch decides.
  explicit Replay(
      const CallRecord& record,
      torch::optional<Shares> shares = torch::nullopt);
  Replay(const Replay&) = delete;
  Replay& operator=(const Replay&) = delete;

  Tensor operator()(
      const Tensor& x, at::TensorList context, at::TensorList parameters);

  // Whether the run took the default generators, which it shares, from where
  // they stood before the call to where they stood after it.
  bool drew_as_recorded() const {
    return drew_as_recorded_;
  }

  // The branch as the replay runs it.
  const Callable& callable() const {
    return private_ ? *private_ : record_.branch_.callable();
  }

 private:
  // What the replay puts back, also where it throws.
  struct Found {
    const Branch* branch;
    torch::optional<Attributes> attributes;
    BufferCopies buffers;
    // What showed private copies.
    BufferCopies shown;

    void restore() const;
  };
  void choose_attributes();
  // The memory that it writes to and that others use.
  std::vector<Tensor> shared_memory() const;
  void set_shared_state();
  // Runs the branch with the default generators set.
  template <typename Run>
  Tensor with_shared_generators(const Run& run);
  // Runs it with generators of its own, if the call drew.
  template <typename Run>
  Tensor with_own_generators(const Run& run);

  const CallRecord& record_;
  // What is set where everybody sees it.
  bool shares_draws_;
  bool shares_buffers_;
  bool shares_attributes_ = false;
  bool shares_sizes_ = false;
  bool drew_as_recorded_ = false;
  std::shared_ptr<Callable> private_;
  PrivateBuffers buffers_;
  // Until all is put back.
  std::unique_ptr<SharedWrites> order_;
  // Until the local gradient is done, which may run the branch's own recompute.
  std::unique_ptr<Restore<ParameterWrites>> parameters_;
  std::unique_ptr<Turn> turn_;
  std::unique_ptr<Restore<Found>> found_;
};

}  // namespace detail
}  // namespace torchrev
