#pragma once

#include <ATen/record_function.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include "check.h"

// What surrounds a run of a branch, so that a user finds it again: in an error
// that comes out of it, and in a profile.

namespace torchrev {
namespace detail {

// Rethrows the exception that is being handled: of the same dynamic type, and
// with "in F of block 3 of torchrev::reversible_sequence" at its end, if its
// type is one that can be extended.
[[noreturn]] void rethrow_from(const Place& place);

// Adds "in torchrev::reversible_sequence" to a text that names nothing of ours.
void add_entry(const char* entry, c10::Error& error);

// What `call()` returns; what it throws names `place`.
template <typename Call>
auto naming(const Place& place, const Call& call) -> decltype(call()) {
  try {
    return call();
  } catch (...) {
    rethrow_from(place);
  }
}

// What `call()`, all of an entry, returns. An error of LibTorch's that came out
// of no branch, as when memory runs out, names the entry.
template <typename Call>
auto naming(const char* entry, const Call& call) -> decltype(call()) {
  try {
    return call();
  } catch (c10::Error& error) {
    add_entry(entry, error);
    throw;
  }
}

enum class BranchRun { kForward, kRecompute };

// A range for profilers, "torchrev::F of block 3 (recompute)". The name is put
// together for those who listen, and else nothing is done.
class ProfilerRange {
 public:
  ProfilerRange(const Place& place, BranchRun run) {
    auto listeners =
        at::getStepCallbacksUnlessEmpty(at::RecordScope::USER_SCOPE);
    if (listeners) {
      begin(place, run, std::move(*listeners));
    }
  }

 private:
  void begin(const Place& place, BranchRun run, at::StepCallbacks&& listeners);

  torch::optional<at::RecordFunction> range_;
};

// A forward run of a branch.
template <typename Call>
auto in_branch(const Place& place, const Call& call) -> decltype(call()) {
  const ProfilerRange range(place, BranchRun::kForward);
  return naming(place, call);
}

// A run that repeats one. It computes on the tensors of forward: where
// gradients are batched (is_grads_batched, vmap over backward), it is no part
// of that, and random numbers may be drawn again.
template <typename Call>
auto in_recompute(const Place& place, const Call& call) -> decltype(call()) {
  const ProfilerRange range(place, BranchRun::kRecompute);
  const c10::impl::ExcludeDispatchKeyGuard unbatched(c10::DispatchKeySet(
      {c10::DispatchKey::VmapMode,
       c10::DispatchKey::FuncTorchVmapMode,
       c10::DispatchKey::FuncTorchDynamicLayerFrontMode,
       c10::DispatchKey::FuncTorchDynamicLayerBackMode}));
  return naming(place, call);
}

}  // namespace detail
}  // namespace torchrev
