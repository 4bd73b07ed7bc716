#include "recompute/call_record.h"

#include <utility>

#include "recompute/restore.h"

namespace torchrev {
namespace detail {

CallRecord::CallRecord(
    const Place& place,
    const Branch& branch,
    const Tensor& x,
    const RecordOptions& options)
    : place_(place),
      branch_(branch),
      preserve_rng_(options.preserve_rng_state),
      devices_(devices_drawn_from(branch, x)),
      autocast_(AutocastState::capture(x.device().type())),
      attributes_(Attributes::of(branch.callable())),
      seen_(branch.facts().find(attributes_.values())),
      buffers_(
          branch, options.buffers, seen_ ? &seen_->changed_buffers : nullptr) {}

Tensor CallRecord::run(
    const Tensor& x, at::TensorList context, at::TensorList parameters) {
  // A cast of a weight that a forward without a graph leaves in autocast's
  // cache has none, and the recompute would lose its gradient.
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
  return out;
}

void CallRecord::take_back() {
  if (random_) {
    random_->restore();
  }
  attributes_.restore(branch_.callable());
  write_back(buffers_.copies());
  decisions_.clear();
}

}  // namespace detail
}  // namespace torchrev
