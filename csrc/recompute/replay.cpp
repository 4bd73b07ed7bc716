#include "recompute/replay.h"

#include <memory>
#include <utility>

#include "recompute/verification.h"

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

// A recompute that restores nothing shared takes no lock: backward passes of
// several threads then run side by side.
std::unique_lock<std::recursive_mutex> Replay::lock_for(
    const CallRecord& record, bool changed) {
  const bool shares = changed || record.random_ ||
                      !record.buffers_.copies().empty() ||
                      !record.written_.empty();
  return shares ? std::unique_lock<std::recursive_mutex>(recompute_mutex())
                : std::unique_lock<std::recursive_mutex>();
}

void Replay::Found::restore() const {
  state.restore(*branch);
  parameters.restore();
}

Replay::Replay(const CallRecord& record)
    : Replay(record, Attributes::of(record.branch_.callable())) {}

Replay::Replay(const CallRecord& record, Attributes now)
    : record_(record),
      changed_(!(record.attributes_ == now)),
      lock_(lock_for(record, changed_)),
      found_(Found{
          &record.branch_,
          {std::move(now), copies_of(record.buffers_.copies())},
          ParameterWrites(record.written_)}) {
  record.buffers_.check_unchanged(record.place_);
  // Attributes first: a buffer is one where a TorchScript module assigned
  // another tensor to its name.
  if (changed_) {
    record.attributes_.set(record.branch_.callable());
  }
  write_back(record.buffers_.copies());
}

Tensor Replay::operator()(
    const Tensor& x, at::TensorList context, at::TensorList parameters) {
  // Backward runs outside the caller's autocast region, or in another one.
  Restore<AutocastState> autocast_guard(AutocastState::capture());
  record_.autocast_.without_cache().restore();
  std::unique_ptr<Restore<RandomState>> random_guard;
  if (record_.random_) {
    random_guard = std::make_unique<Restore<RandomState>>(
        RandomState::capture(record_.devices_));
    record_.random_->restore();
  }
  const WithoutVerification no_verification;
  ReplayScope scope(record_.decisions_);
  auto out = record_.branch_.callable().forward(x, context, parameters);
  scope.check_complete();
  drew_otherwise_ = end_ && record_.draws() &&
                    !(RandomState::capture(record_.devices_) == *end_);
  return out;
}

}  // namespace detail
}  // namespace torchrev
