#pragma once

#include <ATen/core/Tensor.h>
#include <torchrev/branch.h>

#include <memory>
#include <utility>
#include <vector>

#include "branch/branch_facts.h"
#include "check.h"
#include "recompute/attributes.h"
#include "recompute/autocast_state.h"
#include "recompute/buffer_record.h"
#include "recompute/draws.h"
#include "recompute/parameter_writes.h"
#include "recompute/private_buffers.h"
#include "recompute/random_state.h"
#include "recompute/remember_scope.h"

namespace torchrev {
namespace detail {

// How a call is recorded; see ReversibleOptions.
struct RecordOptions {
  bool preserve_rng_state = true;
  BufferOptions buffers = {};
  bool verify_first_call = true;
};

// What a call of a branch saw: random numbers, autocast, buffers, train / eval
// flags and other attributes, and the decisions that it asked to remember.
// Replay runs the branch again with all of them.
class CallRecord {
 public:
  // Notes the surroundings of the call of `branch` with `x` that follows.
  CallRecord(
      const Place& place,
      const Branch& branch,
      const Tensor& x,
      const RecordOptions& options)
      : CallRecord(place, branch, branch.buffers(), x, options) {}

  // What calls with these attributes have shown; null before the first one.
  const std::shared_ptr<const BranchFacts::Seen>& seen() const {
    return seen_;
  }

  // Runs the branch for the first time.
  Tensor run(
      const Tensor& x, at::TensorList context, at::TensorList parameters);

  // Undoes what a run that threw has done to generators, buffers and
  // attributes.
  void take_back();

  // Whether a replay draws the same numbers, if any.
  bool preserves_rng() const {
    return preserve_rng_;
  }
  // Where the default generators stand that it may draw from.
  RandomState generators() const {
    return RandomState::capture(devices_);
  }

  // Call it once after run(), which was that of a first call: see BufferRecord.
  // Notes in `seen` what the call has shown besides.
  void settle(BranchFacts::Seen& seen);
  // The same for a later call.
  void settle() {
    buffers_.settle(place_);
  }

  // Tells what the call wrote to its parameters: a replay then leaves them as
  // it finds them.
  void wrote(std::vector<ParameterWrite> writes) {
    written_ = std::move(writes);
  }

  bool writes() const {
    return !written_.empty();
  }

  // Notes what is now known of calls with the attributes of this one.
  void learn(BranchFacts::Seen seen) {
    seen_ = branch_.facts().learn(
        attributes_.values(), buffers_.count(), std::move(seen));
  }
  // Notes that they need a graph, or that one whose input requires grad has
  // shown that they do not.
  void note_graph(bool is_needed) {
    if (!seen_->needs_graph) {
      auto seen = *seen_;
      seen.needs_graph = is_needed;
      seen.had_gradient = true;
      learn(std::move(seen));
    }
  }

  // Whether something other than operators of recorded branches moved the
  // default generators meanwhile: the call itself, or another thread.
  bool has_other_draws() const {
    return moved_ != nullptr;
  }
  // Sets them to where the call left them. Requires has_other_draws().
  void set_generators_after() const {
    moved_->after.restore();
  }
  // Whether it changed buffers.
  bool changed_buffers() const {
    return !buffers_.copies().empty();
  }

 private:
  friend class Replay;
  CallRecord(
      const Place& place,
      const Branch& branch,
      const std::vector<Tensor>& buffers,
      const Tensor& x,
      const RecordOptions& options);

  // From where to where the default generators went.
  struct Moved {
    RandomState before;
    RandomState after;
  };
  // Runs `call`, and tells what it drew that `watched` operators did not.
  template <typename Call>
  Tensor noting_draws(const Call& call, bool watched);
  void settle_draws(const RandomState& before, bool watched);

  Place place_;
  Branch branch_;
  bool preserve_rng_;
  std::vector<c10::Device> devices_;
  // Where a run that threw began.
  std::unique_ptr<RandomState> before_;
  DrawRecord draws_;
  // Null if draws_ says all.
  std::unique_ptr<Moved> moved_;
  AutocastState autocast_;
  Attributes attributes_;
  std::shared_ptr<const BranchFacts::Seen> seen_;
  BufferRecord buffers_;
  // Of a first call.
  std::unique_ptr<BufferWatch> watch_;
  std::vector<ParameterWrite> written_;
  Decisions decisions_;
};

}  // namespace detail
}  // namespace torchrev
