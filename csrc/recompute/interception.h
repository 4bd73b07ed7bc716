#pragma once

#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torchrev/branch.h>

#include "recompute/draws.h"
#include "recompute/private_buffers.h"

namespace torchrev {
namespace detail {

// NOTE [Interception]
// The default generators are one for the process, and the buffers of a module
// are one for all threads that use it: a recompute that set them and put them
// back would take numbers from other threads, and steps from their counters,
// and a lock around it would hang where a branch waits for another thread.
// So nothing shared is set. Operators that a branch runs are intercepted, by a
// kernel under a dispatch key that is on while the branch runs:
//   * in forward, one that draws random numbers holds the mutex of the default
//     generator, runs with a generator of ours that stands where it does, and
//     moves it on; where each draw started is noted, and that it was not a
//     stranger who moved the generator (GeneratorMoves);
//   * in a recompute, it draws from a generator of ours that stands where the
//     noted one did, and where an operator is given a buffer that forward
//     changed, it gets a private copy instead.
// A branch of which BranchFacts knows that it does neither is not intercepted.
//
// Branches nest: an operator is seen by all of the recordings around it, up to
// the innermost recompute, whose generators it draws from.

// While it lives, operators of this thread are intercepted: where branches of
// other threads draw, also for GeneratorMoves alone.
class Interception {
 public:
  // What is not null outlives the Interception.
  struct Parts {
    // Notes draws.
    DrawRecord* record = nullptr;
    // Draws come from here.
    OwnGenerators* own = nullptr;
    const PrivateBuffers* buffers = nullptr;
    // Notes buffers that are taken.
    BufferWatch* watch = nullptr;
    // Operators that are given one of `parameters` get its alias instead.
    const std::vector<at::Tensor>* parameters = nullptr;
    at::TensorList aliases = {};
  };

  explicit Interception(const Parts& parts);
  ~Interception();
  Interception(const Interception&) = delete;
  Interception& operator=(const Interception&) = delete;

  // The innermost one of this thread, or null.
  static const Interception* innermost();
  // Whether draws of this thread are intercepted already; and whether the
  // default generators are not asked for them, but those of a recompute.
  static bool of_draws();
  static bool of_own_draws();
  const Interception* outer() const {
    return outer_;
  }
  const Parts& parts() const {
    return parts_;
  }
  bool sees_draws() const {
    return parts_.record || parts_.own || tells_of_draws_;
  }
  bool sees_tensors() const {
    return parts_.buffers || parts_.watch || parts_.parameters;
  }
  // Undefined if `tensor` is none of the parameters.
  at::Tensor alias_of(const at::Tensor& tensor) const;

 private:
  Parts parts_;
  bool tells_of_draws_;
  const Interception* outer_;
  torch::optional<c10::impl::IncludeDispatchKeyGuard> key_;
};

}  // namespace detail
}  // namespace torchrev
