#include "recompute/call_record.h"

#include <ATen/ops/equal.h>

#include <utility>

#include "recompute/restore.h"

namespace torchrev {
namespace detail {

CallRecord::CallRecord(
    const Branch& branch, const Tensor& x, const RecordOptions& options)
    : branch_(branch),
      preserve_rng_(options.preserve_rng_state),
      devices_(devices_drawn_from(branch, x)),
      autocast_(AutocastState::capture(x.device().type())),
      state_{branch.callable().attributes(), {}} {
  const auto buffers = buffers_of(branch);
  state_.buffers = copies_of(buffers.changing);
  if (options.verify_constant_buffers) {
    constants_ = copies_of(buffers.constant);
  }
}

Tensor CallRecord::run(
    const Place& place,
    const Tensor& x,
    at::TensorList context,
    at::TensorList parameters) {
  // Forward runs without grad mode. A cast of a weight that it leaves in
  // autocast's cache has no graph, and the recompute would lose its gradient.
  std::unique_ptr<Restore<AutocastState>> cache_guard;
  if (autocast_.any_enabled()) {
    cache_guard = std::make_unique<Restore<AutocastState>>(autocast_);
    autocast_.without_cache().restore();
  }
  if (preserve_rng_) {
    random_ = std::make_unique<RandomState>(RandomState::capture(devices_));
  }
  auto out = [&] {
    RecordScope scope(decisions_);
    return branch_.callable().forward(x, context, parameters);
  }();
  // A state that did not move says that the branch draws nothing: keeping it
  // would cost 2.5 KiB a call, and a lock in the recompute.
  if (random_ && *random_ == RandomState::capture(devices_)) {
    random_.reset();
  }
  check_constants(place);
  return out;
}

void CallRecord::check_constants(const Place& place) {
  for (const auto& constant : std::exchange(constants_, {})) {
    TORCHREV_CHECK(
        ValueError,
        at::equal(constant.buffer, constant.value),
        place.entry,
        c10::str(
            "the buffers of more than 1 MiB of ", place, " to be constant"),
        c10::str(
            "one of shape ",
            constant.buffer.sizes(),
            " that its forward changed"),
        "Declare it with Branch::mutable_buffers().");
  }
}

}  // namespace detail
}  // namespace torchrev
