#include "recompute/replay.h"

#include <memory>

#include "recompute/restore.h"

namespace torchrev {
namespace detail {

namespace {

// The CPU generator and the buffers of a branch are one for the process:
// recomputes that set them take turns. The mutex is recursive, because the
// local gradient of one recompute may run another recompute.
std::recursive_mutex& recompute_mutex() {
  static std::recursive_mutex mutex;
  return mutex;
}

}  // namespace

Replay::Replay(const CallRecord& record) : record_(record) {
  const auto& state = record.state_;
  auto& callable = record.branch_.callable();
  before_.attributes = callable.attributes();
  // A recompute that restores nothing shared takes no lock: backward passes of
  // several threads then run side by side.
  const bool changed = !same_attributes(before_.attributes, state.attributes);
  if (record.random_ || !state.buffers.empty() || changed) {
    lock_ = std::unique_lock<std::recursive_mutex>(recompute_mutex());
  }
  before_.buffers = copies_of(state.buffers);
  if (changed) {
    callable.set_attributes(state.attributes);
  }
  write_back(state.buffers);
}

Replay::~Replay() {
  before_.restore(record_.branch_);
}

Tensor Replay::operator()(
    const Tensor& x, at::TensorList context, at::TensorList parameters) {
  // Backward runs outside the caller's autocast region, or in another one.
  Restore<AutocastState> autocast_guard(
      AutocastState::capture(x.device().type()));
  record_.autocast_.without_cache().restore();
  std::unique_ptr<Restore<RandomState>> random_guard;
  if (record_.random_) {
    random_guard = std::make_unique<Restore<RandomState>>(
        RandomState::capture(record_.devices_));
    record_.random_->restore();
  }
  ReplayScope scope(record_.decisions_);
  auto out = record_.branch_.callable().forward(x, context, parameters);
  scope.check_complete();
  return out;
}

}  // namespace detail
}  // namespace torchrev
