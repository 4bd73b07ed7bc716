#include "recompute/call_record.h"

#include <utility>

#include "recompute/generator_moves.h"
#include "recompute/interception.h"
#include "recompute/restore.h"

namespace torchrev {
namespace detail {

CallRecord::CallRecord(
    const Place& place,
    const Branch& branch,
    const std::vector<Tensor>& buffers,
    const Tensor& x,
    const RecordOptions& options)
    : place_(place),
      branch_(branch),
      preserve_rng_(options.preserve_rng_state),
      devices_(devices_drawn_from(branch, x)),
      autocast_(AutocastState::capture()),
      attributes_(
          Attributes::of(branch.callable()).without_graphs(branch.callable())),
      seen_(branch.facts().find(attributes_.values(), buffers.size())),
      buffers_(
          buffers,
          {options.buffers.all_mutable || branch.has_mutable_buffers(),
           options.buffers.verify_constant},
          seen_ ? &seen_->changed_buffers : nullptr) {}

Tensor CallRecord::run(
    const Tensor& x, at::TensorList context, at::TensorList parameters) {
  // A cast of a weight that a forward without a graph leaves in autocast's
  // cache has none, and the recompute would lose its gradient.
  std::unique_ptr<Restore<AutocastState>> cache_guard;
  if (autocast_.any_enabled()) {
    cache_guard = std::make_unique<Restore<AutocastState>>(autocast_);
    autocast_.without_cache().restore();
  }
  // The default generators would tell of draws where none is expected: but not
  // within another branch, where draws may not reach them, nor beside the draws
  // of other threads.
  const bool watches_draws =
      preserve_rng_ && (!seen_ || seen_->draws || Interception::of_draws() ||
                        other_threads_draw());
  if (!seen_) {
    watch_ = std::make_unique<BufferWatch>(branch_.buffers());
  }
  const auto call = [&] {
    const RecordScope scope(decisions_);
    Interception::Parts parts;
    parts.record = watches_draws ? &draws_ : nullptr;
    parts.watch = watch_.get();
    const Interception interception(parts);
    return branch_.callable().forward(x, context, parameters);
  };
  // Within a recompute that draws from generators of its own, who moves the
  // default ones is another thread.
  auto out = preserve_rng_ && !Interception::of_own_draws()
                 ? noting_draws(call, watches_draws)
                 : call();
  draws_.finish();
  return out;
}

template <typename Call>
Tensor CallRecord::noting_draws(const Call& call, bool watched) {
  const auto before = generators();
  Tensor out;
  try {
    out = call();
  } catch (...) {
    before_ = std::make_unique<RandomState>(before);
    throw;
  }
  settle_draws(before, watched);
  return out;
}

// Most branches draw nothing, or by operators alone: nothing is kept besides.
void CallRecord::settle_draws(const RandomState& before, bool watched) {
  if (before.was_moved()) {
    moved_ = std::make_unique<Moved>(Moved{before, generators()});
  }
  if (!watched && moved_) {
    auto seen = *seen_;
    seen.draws = true;
    learn(std::move(seen));
  }
}

void CallRecord::settle(BranchFacts::Seen& seen) {
  seen.draws = !draws_.empty() || has_other_draws();
  seen.changes_attributes =
      !(attributes_ == Attributes::of(branch_.callable()));
  auto changed =
      buffers_.settle(place_, watch_ ? watch_->written() : std::vector<bool>());
  seen.changed_buffers = std::move(changed);
  if (seen_) {
    seen.changed_buffers = seen_->changed_buffers;
  }
  for (std::size_t i = 0; watch_ && i < seen.changed_buffers.size(); ++i) {
    seen.writes_buffers_directly |=
        seen.changed_buffers[i] && !watch_->taken()[i];
  }
  watch_.reset();
}

void CallRecord::take_back() {
  if (before_) {
    before_->restore();
    before_.reset();
  }
  draws_ = DrawRecord();
  attributes_.restore(branch_.callable());
  write_back(buffers_.copies());
  decisions_.clear();
}

}  // namespace detail
}  // namespace torchrev
